"""Running text, for language models."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from torch import Tensor

from ..text.bytes import stream
from .data_set import DataSet
from .error import DataError
from .hub import hub_sheets
from .paths import Files, by_split, digest, existing, name_of, read_text, split_of, visible
from .source import KEY, Source
from .split import SPLITS, Splits
from .unpack import unpacked


@dataclass(frozen=True)
class CorpusSource(Source, DataSet[Tensor]):
    """Running text: the bytes of a file, or of a folder of files, any of them ``.gz``.

    Files are joined in the order of their names. One is of the split that the outermost folder
    so named, or the file itself, is called after. Without separate files a split is cut off: the
    last bytes are the test, those before them validate.

    Attributes:
        text: the column that holds it, for a data set of the hub.
    """

    text: str = "text"

    def read(self) -> Splits[Tensor]:
        """The text of each split, ``(bytes,)`` uint8.

        Raises:
            DataError: naming file and cure.
        """
        name, sha256, texts = _read(self)
        parts = _contiguous(texts, self)
        sizes = "".join(f"{split} {len(part)}\n" for split, part in parts.items())
        split_sha256 = hashlib.sha256(sizes.encode()).hexdigest()
        tensors = (stream(parts[split]) for split in SPLITS)
        made = tuple(split for split in parts if split not in texts)
        return Splits(name, sha256, split_sha256, *tensors, made=made)

    def read_other(
        self, trained: DataSet[Tensor], known: Splits[Tensor], labelled: bool
    ) -> Splits[Tensor]:
        """The splits of a training, but with this text to test on.

        Raises:
            DataError: naming file and cure.
        """
        name, sha256, texts = _read(self)
        parts = [texts["test"]] if "test" in texts else texts.values()
        return known.tested_on(name, sha256, stream(b"".join(parts)))


def _read(source: CorpusSource) -> tuple[str, str, dict[str, bytes]]:
    """Name, hash and text of each split that the source comes with."""
    if source.hub is not None:
        return _from_hub(source)
    with unpacked(source) as inside:
        files = _files(inside)
        texts = {split: b"".join(map(read_text, paths)) for split, paths in files.items()}
        return name_of(inside), digest(files), texts


def _files(source: CorpusSource) -> Files:
    roots = existing(source)
    # the name of a folder says something only next to others
    tops = {
        file: root.parent if len(roots) > 1 else root for root in roots for file in _below(root)
    }

    def named_after(file: Path) -> str | None:
        inside = file.relative_to(tops[file])
        return next(filter(None, map(split_of, [*reversed(inside.parents), inside])), None)

    return by_split(list(tops), source, named_after)


def _below(root: Path) -> list[Path]:
    """A file itself, or the files at any depth in a folder, sorted, without hidden ones."""
    if root.is_file():
        return [root]
    inner = [p for p in sorted(root.rglob("*")) if p.is_file()]
    shown = [p for p in inner if not any(n.startswith(".") for n in p.relative_to(root).parts)]
    if not shown:
        there = ", ".join(p.name for p in visible(root)) or "nothing"
        raise DataError(f"{KEY}.path={root}: holds {there}; expected text files")
    return shown


def _from_hub(source: CorpusSource) -> tuple[str, str, dict[str, bytes]]:
    """Name, hash and text of each split."""
    sheets = hub_sheets(source)
    column = sheets.column(f"{KEY}.text", source.text)
    for row, text in enumerate(column):
        if not isinstance(text, str):
            raise DataError(
                f"{sheets.place(row)}: {type(text).__name__} where text belongs; name the column "
                f"of the text with {KEY}.text, or give {KEY}.path"
            )
    rows = iter(column)
    texts = {
        split: "\n".join(islice(rows, size)).encode("utf-8", "surrogateescape")
        for split, size in sheets.parts.items()
    }
    return sheets.name, sheets.sha256, texts


def _contiguous(texts: Mapping[str, bytes], source: CorpusSource) -> dict[str, bytes]:
    """All three splits, those that are missing cut off the end of the training text."""
    parts = dict(texts)
    length = len(parts["train"])
    for split, share in (("test", source.test), ("val", source.val)):
        if split not in texts:
            keep = len(parts["train"]) - int(length * share)
            parts["train"], parts[split] = parts["train"][:keep], parts["train"][keep:]
    for split, part in parts.items():
        if not part:
            raise DataError(
                f"{source.title}: {length} bytes leave none for {split}; give more text, "
                f"or another {KEY}.val or {KEY}.test"
            )
    return {split: parts[split] for split in SPLITS}
