"""Labelled texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .delimited import Dialect
from .error import DataError
from .folders import class_files
from .kinds import Texts
from .labels import encode, need_two
from .open import is_record_file, open_sheets
from .paths import digest, empty, existing, files_of, read_bytes, suffix_of
from .sheets import Place
from .source import KEY, TextSource
from .split import Index, Splits, cut


def read_texts(source: TextSource) -> Splits[Texts]:
    """Texts with labels: CSV, TSV, JSONL or Parquet, or a folder of ``.txt`` files per class.

    Text is kept as bytes, whatever its encoding.

    Raises:
        DataError: naming file, row and cure.
    """
    rows = _rows(source)
    texts = [_bytes(text, rows.place, row) for row, text in enumerate(rows.texts)]
    y, classes = encode("label", rows.labels, rows.place, rows.parts, rows.classes)
    need_two(source.title, "label", y[: rows.parts["train"]], classes)
    group, groups = None, rows.groups
    if rows.group is not None:
        codes, groups = encode("group", rows.group, rows.place, rows.parts, rows.groups)
        group = torch.from_numpy(codes)

    def take(index: Index) -> Texts:
        of = torch.from_numpy(index)
        chosen = None if group is None else group[of]
        return Texts([texts[i] for i in index], torch.from_numpy(y)[of], classes, chosen, groups)

    return cut(rows.parts, source, y).splits(rows.name, rows.sha256, take)


@dataclass(frozen=True)
class _Rows:
    """Texts and labels as they were found."""

    texts: Sequence[Any]
    labels: Sequence[Any]
    classes: tuple[str, ...]
    group: Sequence[Any] | None
    groups: tuple[str, ...]
    place: Place
    parts: Mapping[str, int]
    name: str
    sha256: str


def _rows(source: TextSource) -> _Rows:
    if source.hub is not None or source.format is not None or existing(source).is_file():
        return _from_sheets(source)
    read = _from_sheets if files_of(source, is_record_file) else _from_folders
    return read(source)


def _from_sheets(source: TextSource) -> _Rows:
    sheets = open_sheets(source, Dialect(), source.format)
    texts = sheets.column(f"{KEY}.text", source.text)
    labels = sheets.column(f"{KEY}.label", source.label)
    group = None if source.group is None else sheets.column(f"{KEY}.group", source.group)
    groups = () if source.group is None else sheets.declared(source.group)
    classes = sheets.declared(source.label)
    found = (sheets.place, sheets.parts, sheets.name, sheets.sha256)
    return _Rows(texts, labels, classes, group, groups, *found)


def _from_folders(source: TextSource) -> _Rows:
    if source.group is not None:
        raise DataError(
            f"{KEY}.group={source.group}: folders of text files have no columns; "
            "leave it out, or give a CSV, TSV, JSONL or Parquet file"
        )
    found = class_files(source, is_text_file)
    if not found:
        raise empty(source, "train.csv and such, or one folder of .txt files per class")
    paths = [path for files in found.values() for path in files]
    parts = {split: len(files) for split, files in found.items()}
    texts = [read_bytes(path) for path in paths]
    labels = [label for files in found.values() for label in files.values()]
    plain = {split: list(files) for split, files in found.items()}

    def place(row: int) -> str:
        return str(paths[row])

    return _Rows(texts, labels, (), None, (), place, parts, existing(source).name, digest(plain))


def is_text_file(path: Path) -> bool:
    """Whether the suffix is ``.txt``, compressed or not."""
    return suffix_of(path) == ".txt"


def _bytes(text: Any, place: Place, row: int) -> bytes:
    if isinstance(text, str):
        text = _encoded(text)
    if not isinstance(text, bytes):
        shown = "missing" if text is None else f"{type(text).__name__}, not text"
        raise DataError(f"{place(row)}: the text is {shown}; fix or remove the row")
    if not text:
        raise DataError(f"{place(row)}: the text is empty; fill or remove the row")
    return text


def _encoded(text: str) -> bytes:
    """The bytes a text was read from; halves of surrogate pairs, which JSON has, are kept."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
