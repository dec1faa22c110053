"""Running text, for language models."""

import hashlib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from torch import Tensor

from ..text.bytes import stream
from .error import DataError
from .hub import hub_sheets
from .paths import Files, by_split, digest, existing, read_bytes, split_of, visible
from .source import KEY, CorpusSource
from .split import SPLITS, Splits


def read_corpus(source: CorpusSource) -> Splits[Tensor]:
    """The bytes of a text, ``(bytes,)`` uint8: a file, or a folder of files, any of them ``.gz``.

    Files are joined in the order of their names. One is of the split that the outermost folder
    so named, or the file itself, is called after. Without separate files a split is cut off: the
    last bytes are the test, those before them validate.

    Raises:
        DataError: naming file and cure.
    """
    name, sha256, texts = _read(source)
    parts = _contiguous(texts, source)
    sizes = "".join(f"{split} {len(part)}\n" for split, part in parts.items())
    tensors = {split: stream(part) for split, part in parts.items()}
    made = tuple(split for split in parts if split not in texts)
    return Splits(name, sha256, hashlib.sha256(sizes.encode()).hexdigest(), **tensors, made=made)


def read_other_corpus(source: CorpusSource, known: Splits[Tensor]) -> Splits[Tensor]:
    """The same splits, but with the text of another source to test on.

    That is its test split if it comes with one, else all.

    Raises:
        DataError: naming file and cure.
    """
    name, sha256, texts = _read(source)
    parts = [texts["test"]] if "test" in texts else texts.values()
    return known.tested_on(name, sha256, stream(b"".join(parts)))


def _read(source: CorpusSource) -> tuple[str, str, dict[str, bytes]]:
    """Name, hash and text of each split that the source comes with."""
    if source.hub is not None:
        return _from_hub(source)
    files = _files(source)
    texts = {split: b"".join(map(read_bytes, paths)) for split, paths in files.items()}
    return existing(source).name, digest(files), texts


def _files(source: CorpusSource) -> Files:
    path = existing(source)
    if path.is_file():
        return {"train": [path]}
    inner = [p for p in sorted(path.rglob("*")) if p.is_file()]
    shown = [p for p in inner if not any(n.startswith(".") for n in p.relative_to(path).parts)]
    if not shown:
        there = ", ".join(p.name for p in visible(path)) or "nothing"
        raise DataError(f"{source.title}: holds {there}; expected text files")

    def named_after(file: Path) -> str | None:
        inside = file.relative_to(path)
        return next(filter(None, map(split_of, [*reversed(inside.parents), inside])), None)

    return by_split(shown, source, named_after)


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
