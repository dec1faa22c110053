"""Labelled texts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from routers import OptionError

from .data_set import DataSet
from .error import DataError
from .guess import text_and_label
from .labelled import Labelled, read_class_folders
from .labels import Codes, check_classes, encode, encode_as, encode_text
from .open import is_record_file, open_sheets
from .paths import existing, files_of, read_text, suffix_of
from .records import Dialect, check_delimiter
from .sheets import Place
from .source import KEY, Source
from .split import Index, Splits, cut, test_rows
from .unpack import unpacked


@dataclass(frozen=True)
class Texts:
    """Texts with labels.

    Attributes:
        texts: N texts, as their bytes.
        y: ``(N,)`` int64, places in ``classes``.
        classes: their names.
        group: ``(N,)`` int64, places in ``groups``; None if no group was asked for.
        groups: their names.
        group_name: what the groups are, in the singular.
    """

    texts: list[bytes]
    y: Tensor
    classes: tuple[str, ...]
    group: Tensor | None = None
    groups: tuple[str, ...] = ()
    group_name: str = "group"

    def __post_init__(self) -> None:
        for text in self.texts:
            if not isinstance(text, bytes) or not text:
                shown = "" if isinstance(text, bytes) else f" ({type(text).__name__})"
                raise DataError(f"Texts: {text!r}{shown} is no text; expected bytes, at least one")
        check_classes("Texts", self.y, len(self.texts), self.classes)
        if self.group is not None:
            check_classes("Texts, group", self.group, len(self.texts), self.groups)

    @property
    def strata(self) -> Codes:
        """The classes, ``(N,)``."""
        return self.y.numpy()

    def take(self, rows: Index) -> "Texts":
        """Some of the texts."""
        group = None if self.group is None else self.group[rows]
        texts = [self.texts[row] for row in rows.tolist()]
        return replace(self, texts=texts, y=self.y[rows], group=group)


@dataclass(frozen=True)
class TextSource(Source, DataSet[Texts]):
    """Labelled texts: CSV, TSV, JSONL or Parquet, or a folder of ``.txt`` files per class.

    Text is kept as bytes, whatever its encoding.

    Attributes:
        text, label: their columns; None for ``text`` and ``label``, or the only ones possible.
            Several columns of text are joined by newlines, without those that are empty.
        group: column to score by group, such as the language; or None.
        columns: names of all columns, for delimited text without a header.
        delimiter: between columns of delimited text; None for that of the suffix.
        format: of files with another suffix: ``csv``, ``tsv``, ``jsonl``, ``parquet``.
    """

    text: str | Sequence[str] | None = None
    label: str | None = None
    group: str | None = None
    columns: Sequence[str] | None = None
    delimiter: str | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_delimiter(self.delimiter)
        if self.text is not None and not self.text:
            raise OptionError(f"{KEY}.text", self.text, "a column or a list of columns")

    def read(self) -> Splits[Texts]:
        """The texts.

        Raises:
            DataError: naming file, row and cure.
        """
        group = None
        with unpacked(self) as source:
            found, raw_group, groups, guesses = _labelled(source)
            texts = [_bytes(text, found.place, row) for row, text in enumerate(found.samples)]
            y, classes = found.encode_labels(source.title)
            if raw_group is not None:
                codes, groups = encode("group", raw_group, found.place, found.parts, groups)
                group = torch.from_numpy(codes)
        name = self.group or "group"
        all_texts = Texts(texts, torch.from_numpy(y), classes, group, groups, name)
        splits = cut(found.parts, self, y)
        return splits.splits(found.name, found.sha256, all_texts.take, guesses)

    def read_other(
        self, trained: DataSet[Texts], known: Splits[Texts], labelled: bool
    ) -> Splits[Texts]:
        """The splits of a training, but with these texts to test on.

        Classes and groups, and their order, stay as they were. If not ``labelled``, labels are not
        read, and ``y`` is -1.

        Raises:
            DataError: naming file, row and cure, also for a class or group that is new.
        """
        train, group = known.train, None
        columns: Any = {role: n for role, n in known.guesses.items() if getattr(self, role) is None}
        with unpacked(replace(self, **columns)) as source:
            found, raw_group, groups, _ = _labelled(source, labelled)
            rows = test_rows(found.parts)
            texts = [_bytes(found.samples[row], found.place, row) for row in rows.tolist()]
            y = np.full(len(found.samples), -1)
            if labelled:
                y = found.encode_labels_as(train.classes)
            if raw_group is not None:
                codes = encode_as(train.groups, "group", raw_group, found.place, groups)
                group = torch.from_numpy(codes[rows])
        labels = torch.from_numpy(y[rows])
        test = Texts(texts, labels, train.classes, group, train.groups, train.group_name)
        return known.tested_on(found.name, found.sha256, test)


def _labelled(
    source: TextSource, labelled: bool = True
) -> tuple[Labelled, Sequence[Any] | None, tuple[str, ...], dict[str, str]]:
    """Texts and labels as they were found, their groups, the names of these, and guesses."""
    in_table = source.hub is not None or source.format is not None
    in_table = in_table or any(path.is_file() for path in existing(source))
    if not in_table and not files_of(source, is_record_file):
        return _from_folders(source), None, (), {}
    dialect = Dialect(source.delimiter, columns=source.columns)
    sheets = open_sheets(source, dialect, source.format)
    asked: Any = source.text
    first, *others = [asked] if isinstance(asked, str | None) else asked
    text, label, guesses = text_and_label(sheets, first, source.label, labelled)
    columns = [sheets.column(f"{KEY}.text", name) for name in (text, *others)]
    texts = [_joined(cells) for cells in zip(*columns, strict=True)] if others else columns[0]
    labels = sheets.column(f"{KEY}.label", label) if labelled else ()
    declared = sheets.declared(label)
    found = Labelled(
        texts, labels, sheets.place, sheets.parts, sheets.name, sheets.sha256, declared
    )
    if source.group is None:
        return found, None, (), guesses
    groups = sheets.column(f"{KEY}.group", source.group)
    return found, groups, sheets.declared(source.group), guesses


def _from_folders(source: TextSource) -> Labelled:
    if source.group is not None:
        raise DataError(
            f"{KEY}.group={source.group}: folders of text files have no columns; "
            "leave it out, or give a CSV, TSV, JSONL or Parquet file"
        )
    expected = "train.csv and such, or one folder of .txt files per class"
    return read_class_folders(source, _is_text, expected, lambda paths, _: [*map(read_text, paths)])


def _is_text(path: Path) -> bool:
    return suffix_of(path) == ".txt"


def _joined(cells: Sequence[Any]) -> Any:
    r"""The texts of a row as one; the first of its cells that is no text, if there is one.

    >>> _joined(("A title", None, "and a body"))
    'A title\nand a body'
    """
    full = [cell for cell in cells if cell is not None and cell != ""]
    odd = [cell for cell in full if not isinstance(cell, str)]
    return odd[0] if odd else "\n".join(full)


def _bytes(text: Any, place: Place, row: int) -> bytes:
    if isinstance(text, str):
        text = encode_text(text)
    if not isinstance(text, bytes):
        shown = "missing" if text is None else f"{type(text).__name__}, not text"
        raise DataError(f"{place(row)}: the text is {shown}; fix or remove the row")
    if not text:
        raise DataError(f"{place(row)}: the text is empty; fill or remove the row")
    return text
