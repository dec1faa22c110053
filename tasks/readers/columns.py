"""Columns of a table as numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .error import DataError
from .labels import Codes, printable, sorted_names
from .sheets import Place
from .source import KEY
from .split import Cut

_MISSING, _OTHER, _FIRST = 0, 1, 2

#: Numbers are kept in single precision, and so are their differences.
_MAX_NUMBER = 1e38

#: Words that YAML reads as true or false.
_WORDS = {"true": 1.0, "yes": 1.0, "on": 1.0, "false": 0.0, "no": 0.0, "off": 0.0}


@dataclass(frozen=True)
class Coded:
    """A column.

    Attributes:
        codes: ``(N,)`` places in ``values``, -1 where the value is missing.
        values: the distinct values as text, in the order they appear.
    """

    codes: Codes
    values: list[str]

    def spread(self, of_values: Sequence[float], missing: float) -> npt.NDArray[np.float64]:
        """One number per value made one per row, ``(N,)``."""
        return np.array([*of_values, missing], np.float64)[self.codes]

    def counts(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """In how many of some rows each value stands."""
        codes = self.codes[rows]
        return np.bincount(codes[codes >= 0], minlength=len(self.values))

    def first(self, code: int) -> int:
        """The first row of a value."""
        return int(np.flatnonzero(self.codes == code)[0])


def coded(values: Sequence[Any], missing: Sequence[str], place: Place) -> Coded:
    """Number the values of a column; texts in ``missing`` are missing, None and NaN are "".

    Raises:
        DataError: naming the row of a value that is itself a list or a mapping.

    >>> coded(["b", "?", "a", "b"], missing=["?"], place=str).codes.tolist()
    [0, -1, 1, 0]
    """
    try:
        distinct = dict.fromkeys(values)
    except TypeError as error:  # not hashable
        row = next(i for i, value in enumerate(values) if isinstance(value, list | dict))
        raise DataError(
            f"{place(row)}: holds a {type(values[row]).__name__} where one value belongs; "
            "give each part its own column"
        ) from error
    texts = {value: value_text(value) for value in distinct}
    present = [text for text in dict.fromkeys(texts.values()) if text not in missing]
    by_text = {text: code for code, text in enumerate(present)}
    by_value = {value: by_text.get(text, -1) for value, text in texts.items()}
    codes = np.fromiter(map(by_value.__getitem__, values), np.int64, len(values))
    return Coded(codes, present)


def value_text(value: Any) -> str:
    """A value as text, the same whether it was read as a number or as text; None is empty.

    >>> value_text(2.0), value_text(" a b "), value_text(True), value_text(0.5)
    ('2', 'a b', '1', '0.5')
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return printable(value.strip())
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)


def meaning(text: str) -> str | float:
    """The texts that an unquoted YAML value can mean, so that ``positive=yes`` finds yes.

    >>> meaning("yes") == meaning("True") == meaning("1.0"), meaning("si")
    (True, 'si')
    """
    value = _WORDS.get(text.lower(), number(text))
    return text if value is None else value


def number(text: str) -> float | None:
    """A number that single precision has, or None.

    >>> number("1e3"), number("inf"), number("1e39"), number("1_0"), number("x")
    (1000.0, None, None, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= _MAX_NUMBER and "_" not in text else None


@dataclass(frozen=True)
class Rows:
    """The rows of a table.

    Attributes:
        title: the setting they come from.
        place: names a row.
        cut: which row went where.
    """

    title: str
    place: Place
    cut: Cut


def categories(rows: Rows, column: Coded, rare: int) -> tuple[Codes, int]:
    """Codes of a categorical column and how many there are.

    0 is missing, 1 a value in fewer than ``rare`` training rows, the others are numbered from 2
    in the order of their names.
    """
    counts = column.counts(rows.cut.train)
    kept = sorted_names({v for v, n in zip(column.values, counts, strict=True) if n >= rare})
    code = {name: _FIRST + place for place, name in enumerate(kept)}
    of_values = np.array([*(code.get(value, _OTHER) for value in column.values), _MISSING])
    return of_values[column.codes], _FIRST + len(kept)


def numbers(rows: Rows, column: Coded, name: str) -> npt.NDArray[np.float64]:
    """A numeric column, ``(N,)``, NaN where missing.

    Raises:
        DataError: naming the row of a value that is no number, or a column without any.
    """
    parsed = [number(value) for value in column.values]
    for code, value in enumerate(parsed):
        if value is None:
            text = column.values[code]
            raise DataError(
                f"{rows.place(column.first(code))}, column {name!r}: {text!r} is no number "
                f"up to 1e38; fix it, or add it to {KEY}.missing if it means a missing value"
            )
    values = column.spread([value for value in parsed if value is not None], np.nan)
    if np.isnan(values[rows.cut.train]).all():
        raise DataError(
            f"{rows.title}, column {name!r}: no training row has a value; "
            f"take the column out of {KEY}"
        )
    return values
