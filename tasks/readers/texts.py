"""Labelled texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .error import DataError
from .labelled import Labelled, read_class_folders
from .labels import encode, encode_as, encode_text
from .open import is_record_file, open_sheets
from .paths import existing, files_of, read_bytes, suffix_of
from .records import Dialect
from .sheets import Place
from .source import KEY, TextSource
from .split import Index, Splits, cut, test_rows


@dataclass(frozen=True)
class Texts:
    """Texts with labels.

    Attributes:
        texts: N texts, as their bytes.
        y: ``(N,)`` int64, places in ``classes``.
        classes: their names.
        group: ``(N,)`` int64, places in ``groups``; None if no group was asked for.
        groups: their names.
    """

    texts: list[bytes]
    y: Tensor
    classes: tuple[str, ...]
    group: Tensor | None
    groups: tuple[str, ...]


def read_texts(source: TextSource) -> Splits[Texts]:
    """Texts with labels: CSV, TSV, JSONL or Parquet, or a folder of ``.txt`` files per class.

    Text is kept as bytes, whatever its encoding.

    Raises:
        DataError: naming file, row and cure.
    """
    found, raw_group, groups = _labelled(source)
    texts = [_bytes(text, found.place, row) for row, text in enumerate(found.samples)]
    y, classes = found.encode_labels(source.title)
    group = None
    if raw_group is not None:
        codes, groups = encode("group", raw_group, found.place, found.parts, groups)
        group = torch.from_numpy(codes)

    def take(index: Index) -> Texts:
        of = torch.from_numpy(index)
        chosen = None if group is None else group[of]
        return Texts([texts[i] for i in index], torch.from_numpy(y)[of], classes, chosen, groups)

    return cut(found.parts, source, y).splits(found.name, found.sha256, take)


def read_other_texts(source: TextSource, known: Splits[Texts], labelled: bool) -> Splits[Texts]:
    """The same splits, but with texts of another source to test on.

    These are its test split if it comes with one, else all. Classes and groups, and their order,
    stay as they were. If not ``labelled``, labels are not read, and ``y`` is -1.

    Raises:
        DataError: naming file, row and cure, also for a class or group that is new.
    """
    train = known.train
    found, raw_group, groups = _labelled(source, labelled)
    rows = test_rows(found.parts)
    texts = [_bytes(found.samples[row], found.place, row) for row in rows.tolist()]
    y = np.full(len(found.samples), -1)
    if labelled:
        y = found.encode_labels_as(train.classes)
    group = None
    if raw_group is not None:
        codes = encode_as(train.groups, "group", raw_group, found.place, groups)
        group = torch.from_numpy(codes[rows])
    test = Texts(texts, torch.from_numpy(y[rows]), train.classes, group, train.groups)
    return known.tested_on(found.name, found.sha256, test)


def _labelled(
    source: TextSource, labelled: bool = True
) -> tuple[Labelled, Sequence[Any] | None, tuple[str, ...]]:
    """Texts and labels as they were found, their groups, and the names of these."""
    in_table = source.hub is not None or source.format is not None or existing(source).is_file()
    if not in_table and not files_of(source, is_record_file):
        return _from_folders(source), None, ()
    sheets = open_sheets(source, Dialect(), source.format)
    texts = sheets.column(f"{KEY}.text", source.text)
    labels = sheets.column(f"{KEY}.label", source.label) if labelled else ()
    declared = sheets.declared(source.label)
    found = Labelled(
        texts, labels, sheets.place, sheets.parts, sheets.name, sheets.sha256, declared
    )
    if source.group is None:
        return found, None, ()
    return found, sheets.column(f"{KEY}.group", source.group), sheets.declared(source.group)


def _from_folders(source: TextSource) -> Labelled:
    if source.group is not None:
        raise DataError(
            f"{KEY}.group={source.group}: folders of text files have no columns; "
            "leave it out, or give a CSV, TSV, JSONL or Parquet file"
        )
    expected = "train.csv and such, or one folder of .txt files per class"
    return read_class_folders(
        source, _is_text, expected, lambda paths, _: [*map(read_bytes, paths)]
    )


def _is_text(path: Path) -> bool:
    return suffix_of(path) == ".txt"


def _bytes(text: Any, place: Place, row: int) -> bytes:
    if isinstance(text, str):
        text = encode_text(text)
    if not isinstance(text, bytes):
        shown = "missing" if text is None else f"{type(text).__name__}, not text"
        raise DataError(f"{place(row)}: the text is {shown}; fix or remove the row")
    if not text:
        raise DataError(f"{place(row)}: the text is empty; fill or remove the row")
    return text
