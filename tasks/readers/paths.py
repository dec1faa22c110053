"""Files that a user names: finding, reading and hashing them."""

import codecs
import gzip
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from .error import DataError, listed, reading
from .growth import check_growth
from .source import Source
from .split import SPLITS

#: Words in the name of a file or folder that mark its split.
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "t10k"), "test"),  # t10k in names of MNIST's files
}

#: Files of each split, ``train`` always, in the order of ``SPLITS``.
Files = dict[str, list[Path]]


def existing(source: Source) -> Path:
    """The path of a source.

    Raises:
        DataError: if nothing is there, with the nearest name that is.
    """
    assert source.path is not None
    path = Path(os.path.expanduser(source.path))
    try:
        if path.exists():
            return path
    except OSError as error:  # such as a name that is too long
        raise DataError(f"{source.title}: cannot be read ({error.strerror})") from error
    there = next(parent for parent in path.absolute().parents if parent.exists())
    missing = path.absolute().relative_to(there).parts[0]
    names = [inner.name for inner in visible(there)] if there.is_dir() else []
    near = get_close_matches(missing, names, n=1, cutoff=0.6)
    cure = f"did you mean {there / near[0]}?" if near else f"{there} holds {listed(names)}"
    raise DataError(f"{source.title}: no such file or folder; {cure}")


def visible(folder: Path) -> list[Path]:
    """Paths in a folder, sorted, without hidden files."""
    with reading(folder):
        return sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__")))


def suffix_of(path: Path) -> str:
    """The format of a file, compressed or not.

    >>> suffix_of(Path("a.CSV.gz"))
    '.csv'
    """
    return Path(path.name[:-3] if _is_gzip(path) else path.name).suffix.lower()


def split_of(path: Path) -> str | None:
    """The split a file or folder is named after.

    >>> split_of(Path("data/train-00000-of-00002.parquet")), split_of(Path("latest.csv"))
    ('train', None)
    >>> split_of(Path("dev2.tsv")), split_of(Path("t10k-images-idx3-ubyte.gz"))
    ('val', 'test')
    """
    words = re.findall(r"t10k|[a-z]+", path.name.lower())
    return next((_WORDS[word] for word in words if word in _WORDS), None)


def by_split(
    files: Sequence[Path], source: Source, named_after: Callable[[Path], str | None] = split_of
) -> Files:
    """Files by the split in their names.

    If no file is named after the training split, files named after no split are it; and files
    of one split alone are all there is, to be split.

    Raises:
        DataError: if several splits are there and none is the training split.
    """
    named = {split: [p for p in files if named_after(p) == split] for split in SPLITS}
    found = {split: paths for split, paths in named.items() if paths}
    if "train" in found:
        return found
    unnamed = [path for path in files if named_after(path) is None]
    if unnamed:
        return {"train": unnamed, **found}
    if len(found) > 1:
        raise DataError(
            f"{source.title}: {listed([p.name for paths in found.values() for p in paths])} are "
            "there and no training file; name it train*, or give the path of a single file"
        )
    return {"train": list(files)}


def files_of(source: Source, belongs: Callable[[Path], bool]) -> Files:
    """The files that belong: the path itself, or those in the folder, or in its ``data/``."""
    path = existing(source)
    if path.is_file():
        return {"train": [path]} if belongs(path) else {}
    for folder in (path, path / "data"):
        files = [p for p in (visible(folder) if folder.is_dir() else []) if p.is_file()]
        files = [p for p in files if belongs(p)]
        if files:
            return by_split(files, source)
    return {}


def empty(source: Source, expected: str) -> DataError:
    """The error for a path at which nothing can be read."""
    path = existing(source)
    if path.is_file():
        return DataError(f"{source.title}: its name has no known format; expected {expected}")
    there = [inner.name for inner in visible(path)]
    return DataError(f"{source.title}: holds {listed(there)}; expected {expected}")


def read_bytes(path: Path) -> bytes:
    """Read a file, decompressed.

    Raises:
        DataError: if it cannot be read, or is empty.
    """
    with reading(path):
        content = _decompressed(path) if _is_gzip(path) else path.read_bytes()
    if not content:
        raise empty_file(path)
    return content


def read_text(path: Path) -> bytes:
    """Read a file of text in any encoding, decompressed.

    Raises:
        DataError: if it cannot be read, is empty, or is no text.
    """
    content = read_bytes(path)
    zero = content.find(0, 0, _LOOKED_AT)
    if zero >= 0 and not content.startswith(_WIDE):
        raise DataError(
            f"{path}: is binary, not text (its byte {zero + 1} is zero); exclude it, or give the "
            "text that it holds"
        )
    return content


#: Bytes of a file that show whether it is text, and marks of text in 16 or 32 bits.
_LOOKED_AT = 8192
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def _decompressed(path: Path) -> bytes:
    packed, unpacked, chunks = path.stat().st_size, 0, []
    with gzip.open(path) as file:
        for chunk in iter(partial(file.read, 2**20), b""):
            chunks.append(chunk)
            unpacked += len(chunk)
            check_growth(path, packed, unpacked, "decompress it and give the result")
    return b"".join(chunks)


def empty_file(path: Path) -> DataError:
    """The error for a file without content."""
    return DataError(f"{path}: the file is empty; download it again or exclude it")


def digest(files: Files) -> str:
    """SHA-256 of files: of one its own, of several that of their sums and names in order."""
    paths = [path for split in files.values() for path in split]
    sums = [_file_digest(path) for path in paths]
    if len(paths) == 1:
        return sums[0]
    root = Path(os.path.commonpath([path.parent for path in paths]))
    names = (path.relative_to(root).as_posix() for path in paths)
    lines = (f"{one}  {name}\n" for one, name in zip(sums, names, strict=True))
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def _file_digest(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_gzip(path: Path) -> bool:
    return path.name.lower().endswith(".gz")
