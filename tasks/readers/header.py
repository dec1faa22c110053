"""Whether the first line of delimited text names its columns."""

from collections.abc import Sequence

from .source import KEY

#: Rows that are looked at.
_ROWS = 1000

#: Words of a name at most.
_WORDS = 5


def header_hint(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The end of an error where the first line of delimited text looks like data; else empty.

    It does where a field is empty, a number, longer than a name, or a value of its column.

    >>> header_hint(["text", "label"], [["good film", "1"], ["bad film", "0"]])
    ''
    >>> header_hint(["1", "good film"], [["0", "bad film"], ["1", "fine film"]])
    '. The first line looks like data; if it is, give task.data.columns=[label,text]'
    """
    columns = list(zip(*rows[:_ROWS], strict=False))
    if not any(map(_is_data, names, columns)):
        return ""
    return (
        ". The first line looks like data; if it is, give "
        f"{KEY}.columns=[{','.join(_roles(columns))}]"
    )


def starts_with_index(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first column is the unnamed index that pandas writes, of whole numbers.

    >>> starts_with_index(["", "text"], [["0", "good film"], ["1", "bad film"]])
    True
    >>> starts_with_index(["", "good film"], [["7", "good film"], ["8", "bad film"]])
    False
    """
    named = len(names) > 1 and not names[0] and not header_hint(names[1:], [r[1:] for r in rows])
    return named and all(row[0].isdecimal() for row in rows)


def _is_data(name: str, column: Sequence[str]) -> bool:
    number = name.lstrip("+-").replace(".", "", 1).isdigit()
    return not name or number or len(name.split()) > _WORDS or name in column


def _roles(columns: Sequence[Sequence[str]]) -> list[str]:
    """Names for columns: the longest values are the text, the fewest different ones the label."""
    lengths = [sum(map(len, column)) for column in columns]
    text = lengths.index(max(lengths))
    kinds = [len(set(column)) for column in columns]
    kinds[text] = _ROWS + 1  # a single column is the text
    named = {kinds.index(min(kinds)): "label", text: "text"}
    return [named.get(place, f"column{place + 1}") for place in range(len(columns))]
