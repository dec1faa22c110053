"""Tables with declared columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .answers import answers
from .columns import Coded, Rows, categories, coded, numbers
from .open import open_sheets
from .records import Dialect
from .sheets import Place, Sheets
from .source import KEY, TableSource
from .split import Cut, Index, Splits, cut, test_rows


@dataclass(frozen=True)
class Table:
    """Rows of features and targets.

    Attributes:
        categorical: ``(N, Fc)`` int64; 0 is missing, 1 a category not (or rarely) seen in
            training, the others from 2.
        cardinalities: Fc numbers of codes, those two included.
        numeric: ``(N, Fn)`` float32, NaN where missing.
        targets: ``(N, T)`` float32, NaN where missing; 0 or 1, a class, or a number.
        categorical_names, numeric_names, target_names: of the columns, in order.
        target_kinds: ``binary``, ``classes`` or ``number`` of each target.
        target_classes: names of each target's classes; none of a number's.
        views: columns of each declared group of features.
    """

    categorical: Tensor
    cardinalities: tuple[int, ...]
    numeric: Tensor
    targets: Tensor
    categorical_names: tuple[str, ...]
    numeric_names: tuple[str, ...]
    target_names: tuple[str, ...]
    target_kinds: tuple[str, ...]
    target_classes: tuple[tuple[str, ...], ...]
    views: Mapping[str, tuple[str, ...]]


def read_table(source: TableSource) -> Splits[Table]:
    """A table: CSV or TSV (with or without a header), JSONL or Parquet, any text ``.gz``.

    Categories and classes are those of the training rows. Rows are split in proportion to the
    classes of the first target that has classes.

    Raises:
        DataError: naming file, row, column and cure.
    """
    sheets = _open(source)
    made = partial(cut, sheets.parts, source, rows=source.rows)
    return _splits(source, sheets.column, sheets.place, made, sheets.name, sheets.sha256)


def read_other_table(source: TableSource, other: TableSource, labelled: bool) -> Splits[Table]:
    """A table as ``read_table`` splits it, but with rows of another source to test on.

    These are its test split if it comes with one, else all. Categories, classes and their order
    stay those of the training rows, which are read again. If not ``labelled``, targets of the
    other source are not read, but missing.

    Raises:
        DataError: naming file, row, column and cure, also for a class that is new.
    """
    own, more = _open(source), _open(other)
    parts, rows = own.parts, sum(own.parts.values())
    test = rows + test_rows(more.parts)

    def column(key: str, name: str) -> list[Any]:
        reads = labelled or not key.startswith(f"{KEY}.targets.")
        added = more.column(key, name) if reads else [None] * sum(more.parts.values())
        return own.column(key, name) + added

    def place(row: int) -> str:
        return own.place(row) if row < rows else more.place(row - rows)

    def made(strata: npt.NDArray[Any] | None) -> Cut:
        return replace(cut(parts, source, strata, source.rows), test=test, sha256=None)

    return _splits(source, column, place, made, more.name, more.sha256)


def _open(source: TableSource) -> Sheets:
    dialect = Dialect(source.delimiter, trim=True, columns=source.columns)
    return open_sheets(source, dialect, source.format)


def _splits(
    source: TableSource,
    cells: Callable[[str, str], Sequence[Any]],
    place: Place,
    made_of: Callable[[npt.NDArray[Any] | None], Cut],
    name: str,
    sha256: str,
) -> Splits[Table]:
    """The table of columns that ``cells`` reads by setting and name, split by ``made_of``."""

    def column(key: str, name: str) -> Coded:
        return coded(cells(f"{KEY}.{key}", name), missing, place)

    missing = ["", *source.missing]
    specs = source.specs
    asked = {name: column(f"targets.{name}.column", spec.column) for name, spec in specs.items()}
    classed = [asked[name].codes for name, spec in specs.items() if spec.kind != "number"]
    made = made_of(classed[0] if classed else None)
    rows = Rows(source.title, place, made)
    found = [answers(rows, name, spec, asked[name]) for name, spec in specs.items()]
    kinds = [categories(rows, column("categorical", c), source.rare) for c in source.categorical]
    values = [numbers(rows, column("numeric", c), c) for c in source.numeric]
    number = len(next(iter(asked.values())).codes)
    categorical = _stacked([codes for codes, _ in kinds], number).long()
    numeric = _stacked(values, len(categorical))
    targets = _stacked([answer.values for answer in found], len(categorical))

    def take(index: Index) -> Table:
        of = torch.from_numpy(index)
        return Table(
            categorical=categorical[of],
            cardinalities=tuple(cardinality for _, cardinality in kinds),
            numeric=numeric[of],
            targets=targets[of],
            categorical_names=tuple(source.categorical),
            numeric_names=tuple(source.numeric),
            target_names=tuple(specs),
            target_kinds=tuple(spec.kind for spec in specs.values()),
            target_classes=tuple(answer.classes for answer in found),
            views={name: tuple(columns) for name, columns in source.views.items()},
        )

    return made.splits(name, sha256, take)


def _stacked(columns: Sequence[npt.NDArray[Any]], rows: int) -> Tensor:
    """Columns side by side, ``(N, F)`` float32; ``(N, 0)`` of none."""
    return torch.from_numpy(
        np.stack(columns, 1, dtype=np.float32, casting="unsafe")
        if columns
        else np.empty((rows, 0), np.float32)
    )
