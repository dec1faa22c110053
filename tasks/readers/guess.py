"""Guesses of the columns that hold text and label."""

from collections.abc import Sequence
from typing import Any

from .error import DataError, listed
from .sheets import Sheet, Sheets
from .source import KEY

#: Usual names of columns, in small letters.
TEXT_NAMES = (
    *("text", "sentence", "review", "comment", "content", "tweet", "message", "document"),
    *("question", "body", "utterance"),
)
LABEL_NAMES = (
    *("label", "class", "category", "sentiment", "target", "polarity", "intent", "topic"),
    *("rating", "stars", "labels"),
)

#: Rows that are looked at.
_ROWS = 1000


def text_and_label(
    sheets: Sheets, text: str | None, label: str | None, labelled: bool
) -> tuple[str, str, dict[str, str]]:
    """The columns of text and label, and those of them that were guessed.

    A column that is not given is ``text`` or ``label``, or the only one with a usual name for it,
    or the one of two that the other leaves; or, of two columns, the one whose values repeat is the
    label.

    Args:
        sheets: the rows.
        text, label: the columns if they are given.
        labelled: False if no label is needed.

    Raises:
        DataError: if there is more than one possibility, or none.
    """
    sheet = next(iter(sheets))
    names = list(sheet.columns)
    given = {"text": text or "text", "label": label or "label"}
    found = {role: name if name in names else None for role, name in given.items()}
    asked = {"text": text, "label": label if labelled else ""}
    found |= {role: name for role, name in asked.items() if name is not None}
    if not sheet.hint:
        _guess(sheet, names, found)
    for role, name in found.items():
        if name is None:
            raise DataError(
                f"{sheet.title}: no column {role!r}; name it with {KEY}.{role}=COLUMN. "
                f"There are: {listed(names)}{sheet.hint}"
            )
    columns = {role: name or "" for role, name in found.items()}
    guesses = {role: name for role, name in columns.items() if name not in ("", given[role])}
    return columns["text"], columns["label"], guesses


def _guess(sheet: Sheet, names: Sequence[str], found: dict[str, str | None]) -> None:
    """Fill in the columns in ``found`` that are None, if there is one possibility."""
    for role, usual in (("text", TEXT_NAMES), ("label", LABEL_NAMES)):
        there = [name for name in names if name.lower() in usual]
        if found[role] is None and len(there) == 1:
            found[role] = there[0]
    if len(names) != 2:
        return
    if found["text"] is found["label"] is None:
        found |= _by_values(sheet, names)
    for role, other in (("text", "label"), ("label", "text")):
        if found[role] is None and found[other] in names:
            found[role] = next(name for name in names if name != found[other])


def _by_values(sheet: Sheet, names: Sequence[str]) -> dict[str, str | None]:
    """Of two columns the one with repeated values is the label, if the other hardly repeats."""
    repeats = [name for name in names if _distinct(sheet.columns[name]) <= 0.25]
    varied = [name for name in names if _distinct(sheet.columns[name]) > 0.5]
    if len(repeats) == len(varied) == 1:
        return {"text": varied[0], "label": repeats[0]}
    return {"text": None, "label": None}


def _distinct(values: Sequence[Any]) -> float:
    """The share of values that are not repetitions, among the first ones."""
    seen = values[:_ROWS]
    return len(set(map(repr, seen))) / len(seen)
