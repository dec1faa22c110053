"""Target columns of a table as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from routers import ConfigError, OptionError
from routers.plugins import check_options, unknown

from .columns import Coded, Rows, meaning, numbers, value_text
from .error import DataError, nearest
from .labels import need_two, sorted_names
from .source import KEY


@dataclass(frozen=True)
class TargetColumn:
    """A target column of a table.

    Attributes:
        column: its name.
        kind: ``binary``, ``classes`` or ``number``.
        positive: of a binary target, the value or values that are 1; all others are 0.
        negative: or those that are 0; all others are 1.
    """

    column: str
    kind: str = "classes"
    positive: Any = None
    negative: Any = None

    KINDS: ClassVar[tuple[str, ...]] = ("binary", "classes", "number")


def target_column(key: str, options: Any) -> TargetColumn:
    """A target of what the user wrote under ``key``; ``ConfigError`` if it cannot be one."""
    if not isinstance(options, Mapping):
        raise OptionError(key, options, "a mapping such as {column: NAME, kind: binary}")
    check_options(key, TargetColumn, options, skip=0)
    target = TargetColumn(**options)
    if target.kind not in TargetColumn.KINDS:
        raise unknown(f"{key}.kind", target.kind, TargetColumn.KINDS)
    sides = [side for side in ("positive", "negative") if getattr(target, side) is not None]
    if len(sides) > 1:
        raise ConfigError(f"{key}: positive and negative are both given; give one of them")
    if sides and target.kind != "binary":
        raise ConfigError(
            f"{key}.{sides[0]}: goes with kind=binary, not {target.kind}; "
            f"give {key}.kind=binary or leave it out"
        )
    return target


@dataclass(frozen=True)
class Answers:
    """A target's values.

    Attributes:
        values: ``(N,)``, NaN where missing: 0 or 1, a place in ``classes``, or a number.
        classes: their names, none of a number's.
    """

    values: npt.NDArray[np.float64]
    classes: tuple[str, ...]


def answers(rows: Rows, name: str, target: TargetColumn, column: Coded) -> Answers:
    """Labels of a target.

    Raises:
        DataError: if training rows do not show what is asked for, or another row shows a
            class that they do not.
    """
    return _KINDS[target.kind](rows, f"{KEY}.targets.{name}", target, column)


def _number(rows: Rows, key: str, target: TargetColumn, column: Coded) -> Answers:
    return Answers(numbers(rows, column, target.column), ())


def _classes(rows: Rows, key: str, target: TargetColumn, column: Coded) -> Answers:
    names = sorted_names(set(_seen(rows, column)))
    known = {text: place for place, text in enumerate(names)}
    values = column.spread([known.get(text, -1) for text in column.values], np.nan)
    held_out = np.concatenate([rows.cut.val, rows.cut.test])
    for row in held_out[values[held_out] == -1]:
        text = column.values[column.codes[row]]
        raise DataError(
            f"{rows.place(int(row))}, column {target.column!r}: the class {text!r} is in no "
            f"training row; {nearest(text, names)}. Fix or remove the row"
        )
    return _of_two(rows, target, Answers(values, names))


def _binary(rows: Rows, key: str, target: TargetColumn, column: Coded) -> Answers:
    sides = {"positive": target.positive, "negative": target.negative}
    for side, given in sides.items():
        if given is not None:
            one = isinstance(given, str) or not isinstance(given, Sequence)
            values = [given] if one else given
            named = [
                text for value in values for text in _meant(rows, f"{key}.{side}", value, column)
            ]
            ones = np.isin(column.values, named) == (side == "positive")
            other = " or ".join(named)
            names = {"positive": (f"not {other}", other), "negative": (other, f"not {other}")}
            spread = column.spread(ones.astype(float).tolist(), np.nan)
            return _of_two(rows, target, Answers(spread, names[side]))
    if len(_seen(rows, column)) > 2:
        raise DataError(
            f"{rows.title}, column {target.column!r}: more than two values; choose "
            f"those that are 1 with {key}.positive=VALUE. {nearest('', _seen(rows, column))}"
        )
    return _classes(rows, key, target, column)


_KINDS = {"binary": _binary, "classes": _classes, "number": _number}


def _seen(rows: Rows, column: Coded) -> list[str]:
    """The values of the training rows, sorted."""
    counts = column.counts(rows.cut.train)
    return list(sorted_names({v for v, n in zip(column.values, counts, strict=True) if n}))


def _meant(rows: Rows, key: str, value: Any, column: Coded) -> list[str]:
    """The training values that a user's value names: itself, or else those of its meaning."""
    seen, text = _seen(rows, column), value_text(value)
    alike = [text] if text in seen else [s for s in seen if meaning(s) == meaning(text)]
    if not alike:
        raise DataError(
            f"{rows.title}: {key}={value}: no training row has this value; {nearest(text, seen)}"
        )
    return alike


def _of_two(rows: Rows, target: TargetColumn, found: Answers) -> Answers:
    """The same for training rows with two or more classes."""
    values = found.values[rows.cut.train]
    there = values[~np.isnan(values)].astype(np.int64)
    if not len(there):
        raise DataError(
            f"{rows.title}, column {target.column!r}: no training row has a value; "
            "fill the column or take the target out"
        )
    need_two(rows.title, target.column, there, found.classes)
    return found
