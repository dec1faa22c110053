"""Tables with declared columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from routers import ConfigError, OptionError
from routers.plugins import unknown

from .answers import TargetColumn, answers, target_column
from .columns import Coded, Rows, categories, coded, numbers
from .data_set import DataSet
from .open import open_sheets
from .records import Dialect, check_delimiter
from .sheets import Place, Sheets
from .source import KEY, Source
from .split import Cut, Index, Splits, cut, test_rows
from .unpack import unpacked


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
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def strata(self) -> npt.NDArray[Any]:
        """The classes of the first target that has classes, ``(N,)``; zeros if none has."""
        classed = [place for place, kind in enumerate(self.target_kinds) if kind != "number"]
        return (self.targets[:, classed[0]] if classed else torch.zeros(len(self.targets))).numpy()

    def take(self, rows: Index) -> "Table":
        """Some of the rows."""
        parts = {name: getattr(self, name)[rows] for name in ("categorical", "numeric", "targets")}
        return replace(self, **parts)


@dataclass(frozen=True)
class TableSource(Source, DataSet[Table]):
    """A table with declared columns: CSV or TSV, JSONL or Parquet, any text ``.gz``.

    Categories and classes are those of the training rows. Rows are split in proportion to the
    classes of the first target that has classes.

    Attributes:
        categorical, numeric: columns that are features.
        targets: by name, each with the fields of ``TargetColumn``.
        views: named groups of feature columns, each a separate input; may be empty.
        columns: names of all columns, for delimited text without a header.
        delimiter: between columns of delimited text; None for that of the suffix.
        missing: fields that mean a value is missing, as an empty one always does.
        rare: a category in fewer training rows than this counts as unseen.
        rows: train on at most so many rows, or on all.
        format: of files with another suffix: ``csv``, ``tsv``, ``jsonl``, ``parquet``.
    """

    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    targets: Mapping[str, Any] = field(default_factory=dict)
    views: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[str] | None = None
    delimiter: str | None = None
    missing: Sequence[str] = ("?",)
    rare: int = 1
    rows: int | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_delimiter(self.delimiter)
        if self.rare < 1:
            raise OptionError(f"{KEY}.rare", self.rare, "an integer >= 1")
        if self.rows is not None and self.rows < 1:
            raise OptionError(f"{KEY}.rows", self.rows, "an integer >= 1, or null")
        if not self.features:
            raise ConfigError(
                f"{KEY}: no column is declared as a feature; give {KEY}.categorical=[NAME, …] "
                f"or {KEY}.numeric=[NAME, …]"
            )
        _check_repeats("categorical and numeric", self.features)
        if not self.targets:
            raise ConfigError(
                f"{KEY}.targets: none is declared; give {KEY}.targets.NAME.column=COLUMN"
            )
        for name, target in self.specs.items():
            if target.column in self.features:
                raise ConfigError(
                    f"{KEY}.targets.{name}.column={target.column}: is a feature too, which would "
                    f"give the answer away; take it out of {KEY}.categorical and {KEY}.numeric"
                )
        for view, columns in self.views.items():
            _check_view(view, columns, self.features)

    @property
    def features(self) -> tuple[str, ...]:
        """All feature columns, categorical first."""
        return (*self.categorical, *self.numeric)

    @property
    def specs(self) -> dict[str, TargetColumn]:
        """The targets, checked."""
        return {name: target_column(f"{KEY}.targets.{name}", t) for name, t in self.targets.items()}

    def read(self) -> Splits[Table]:
        """The table.

        Raises:
            DataError: naming file, row, column and cure.
        """
        with unpacked(self) as source:
            sheets = _open(source)
            made = partial(cut, sheets.parts, self, rows=self.rows)
            return _splits(self, sheets.column, sheets.place, made, sheets.name, sheets.sha256)

    def read_other(
        self, trained: DataSet[Table], known: Splits[Table], labelled: bool
    ) -> Splits[Table]:
        """The splits of a training, but with rows of this table to test on.

        Categories, classes and their order stay those of the training rows, which are read again.
        If not ``labelled``, targets of this table are not read, but missing.

        Raises:
            DataError: naming file, row, column and cure, also for a class that is new.
        """
        assert isinstance(trained, TableSource)
        with unpacked(trained) as source, unpacked(self) as other:
            return _with_other(source, other, labelled)


def _check_view(view: str, columns: Any, features: Sequence[str]) -> None:
    key = f"{KEY}.views.{view}"
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not columns:
        raise OptionError(key, columns, "a list of feature columns")
    for column in columns:
        if column not in features:
            raise unknown(key, column, features)
    _check_repeats(f"views.{view}", columns)


def _check_repeats(name: str, columns: Sequence[str]) -> None:
    for column in columns:
        if columns.count(column) > 1:
            raise ConfigError(f"{KEY}.{name}: {column!r} is named twice; name it once")


def _with_other(source: TableSource, other: TableSource, labelled: bool) -> Splits[Table]:
    """The table of ``source``, with rows of ``other`` to test on."""
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

    whole = Table(
        categorical=categorical,
        cardinalities=tuple(cardinality for _, cardinality in kinds),
        numeric=numeric,
        targets=targets,
        categorical_names=tuple(source.categorical),
        numeric_names=tuple(source.numeric),
        target_names=tuple(specs),
        target_kinds=tuple(spec.kind for spec in specs.values()),
        target_classes=tuple(answer.classes for answer in found),
        views={name: tuple(columns) for name, columns in source.views.items()},
    )
    return made.splits(name, sha256, whole.take)


def _stacked(columns: Sequence[npt.NDArray[Any]], rows: int) -> Tensor:
    """Columns side by side, ``(N, F)`` float32; ``(N, 0)`` of none."""
    return torch.from_numpy(
        np.stack(columns, 1, dtype=np.float32, casting="unsafe")
        if columns
        else np.empty((rows, 0), np.float32)
    )
