"""Tables with declared columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .answers import answers
from .columns import Coded, Rows, categories, coded, numbers
from .open import open_sheets
from .records import Dialect
from .source import KEY, TableSource
from .split import Index, Splits, cut


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
    dialect = Dialect(source.delimiter, trim=True, columns=source.columns)
    sheets = open_sheets(source, dialect, source.format)

    def column(key: str, name: str) -> Coded:
        return coded(sheets.column(f"{KEY}.{key}", name), missing, sheets.place)

    missing = ["", *source.missing]
    specs = source.specs
    asked = {name: column(f"targets.{name}.column", spec.column) for name, spec in specs.items()}
    classed = [asked[name].codes for name, spec in specs.items() if spec.kind != "number"]
    made = cut(sheets.parts, source, classed[0] if classed else None, source.rows)
    rows = Rows(source.title, sheets.place, made)
    found = [answers(rows, name, spec, asked[name]) for name, spec in specs.items()]
    kinds = [categories(rows, column("categorical", c), source.rare) for c in source.categorical]
    values = [numbers(rows, column("numeric", c), c) for c in source.numeric]
    categorical = _stacked([codes for codes, _ in kinds], sum(sheets.parts.values())).long()
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

    return made.splits(sheets.name, sheets.sha256, take)


def _stacked(columns: Sequence[npt.NDArray[Any]], rows: int) -> Tensor:
    """Columns side by side, ``(N, F)`` float32; ``(N, 0)`` of none."""
    return torch.from_numpy(
        np.stack(columns, 1, dtype=np.float32, casting="unsafe")
        if columns
        else np.empty((rows, 0), np.float32)
    )
