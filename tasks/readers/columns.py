"""Feature columns of a table as numbers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .coded import Coded, number
from .error import DataError
from .labels import Codes, sorted_names
from .sheets import Place
from .source import KEY
from .split import Cut

_MISSING, _OTHER, _FIRST = 0, 1, 2


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
