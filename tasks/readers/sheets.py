"""Columns by name, whatever file they come from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any

from .error import DataError, nearest
from .source import Source

#: Names the row ``i`` (from 0) of whatever it belongs to: ``train.csv, line 7``.
Place = Callable[[int], str]


@dataclass(frozen=True)
class Sheet:
    """One file's rows.

    Attributes:
        title: of the file.
        columns: values by the name of their column; strings hold undecodable bytes as
            surrogates (PEP 383), missing values are None.
        rows: how many.
        where: names a row within the file: ``line 7``.
        declared: names of the labels 0, 1, … of a column, where the file has them.
        hint: the end of an error about a name that is missing.
    """

    title: str
    columns: Mapping[str, Sequence[Any]]
    rows: int
    where: Callable[[int], str]
    declared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hint: str = ""


@dataclass(frozen=True)
class Sheets:
    """The rows of all files of a data set, one after the other.

    Attributes:
        source: what the user asked for.
        by_split: the files of each split, in order.
        name: of the data set.
        sha256: of its content.
    """

    source: Source
    by_split: Mapping[str, Sequence[Sheet]]
    name: str
    sha256: str

    def __post_init__(self) -> None:
        for sheet in self:
            if not sheet.rows:
                raise DataError(f"{sheet.title}: holds no row; fill it or leave it out")

    def __iter__(self) -> Iterator[Sheet]:
        return chain.from_iterable(self.by_split.values())

    @property
    def parts(self) -> dict[str, int]:
        """Rows of each split."""
        return {split: sum(s.rows for s in sheets) for split, sheets in self.by_split.items()}

    def column(self, key: str, name: str) -> list[Any]:
        """The values of a column that the setting ``key`` names.

        Raises:
            DataError: naming the first file that has no such column, and the nearest name.
        """
        first = next(iter(self))
        for sheet in self:
            if name not in sheet.columns:
                differs = f", which {first.title} has" if name in first.columns else ""
                raise DataError(
                    f"{sheet.title}: no column {name!r} ({key}={name}){differs}; "
                    f"{nearest(name, sheet.columns)}{sheet.hint}"
                )
        return list(chain.from_iterable(sheet.columns[name] for sheet in self))

    def first_of(self, key: str, names: Sequence[str]) -> str:
        """The first of the usual names that the data has."""
        there = next(iter(self)).columns
        for name in names:
            if name in there:
                return name
        raise DataError(
            f"{next(iter(self)).title}: no column {' or '.join(map(repr, names))}; "
            f"name it with {key}=COLUMN. There are: {', '.join(there)}"
        )

    def declared(self, name: str) -> tuple[str, ...]:
        """Names of the labels of a column, or none."""
        return next(iter(self)).declared.get(name, ())

    def place(self, row: int) -> str:
        """File and row of the row ``row`` (from 0) of all."""
        sheets = list(self)
        ends = accumulate(sheet.rows for sheet in sheets)
        sheet, end = next(pair for pair in zip(sheets, ends, strict=True) if row < pair[1])
        return f"{sheet.title}, {sheet.where(row - end + sheet.rows)}"
