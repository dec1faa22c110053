"""Files that a user names: finding, reading and hashing them."""

import codecs
import glob
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


def existing(source: Source) -> list[Path]:
    """The files and folders of a source in their order, those that match a pattern sorted.

    Raises:
        DataError: if nothing is there, with the nearest name that is; if one is named twice; or if
            two of several are both called by the name of a split alone.
    """
    assert source.path is not None
    written = [source.path] if isinstance(source.path, str) else source.path
    found = [path for text in written for path in _matching(source, text)]
    first: dict[object, Path] = {}
    for path in found:
        if (known := first.setdefault(path.resolve(), path)) is not path:
            raise DataError(f"{source.title}: {known} is named twice; name it once")
        split = _WORDS.get(path.name.lower().split(".")[0])
        if split is not None and (known := first.setdefault(split, path)) is not path:
            raise DataError(
                f"{source.title}: {known} and {path} are both called {split}; leave out one, or "
                f"name them as parts, such as {split}1 and {split}2"
            )
    return found


def name_of(source: Source) -> str:
    """The name of the file or folder of a source; of several that of the first, and the number."""
    first, *others = existing(source)
    return f"{first.name} and {len(others)} more" if others else first.name


def _matching(source: Source, text: str) -> list[Path]:
    """The path of a text, or those that match it."""
    path = Path(os.path.expanduser(text))
    try:
        if path.exists():
            return [path]
    except OSError as error:  # such as a name that is too long
        raise DataError(f"{source.title}: cannot be read ({error.strerror})") from error
    is_pattern = glob.escape(text) != text
    if is_pattern and (matching := glob.glob(str(path), recursive=True)):
        return sorted(map(Path, matching))
    there = next(parent for parent in path.absolute().parents if parent.exists())
    missing = path.absolute().relative_to(there).parts[0]
    names = [inner.name for inner in visible(there)] if there.is_dir() else []
    near = get_close_matches(missing, names, n=1, cutoff=0.6)
    cure = f"did you mean {there / near[0]}?" if near else f"{there} holds {listed(names)}"
    place = source.title if text == source.path else f"{source.title}: {text}"
    what = "nothing matches this pattern" if is_pattern else "no such file or folder"
    raise DataError(f"{place}: {what}; {cure}")


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
    """The files that belong: those that are given, and those in a folder, or in its ``data/``.

    Of several files and folders, the name of one decides on the split of what is in it.

    Raises:
        DataError: if one of several folders holds no file that belongs, and others do.
    """
    paths = existing(source)
    found = {path: _files_in(path, belongs) for path in paths}
    bare = [path for path, files in found.items() if path.is_dir() and not files]
    if bare and any(found.values()):
        raise DataError(f"{bare[0]}: holds no file like those of the others; leave it out")
    named = {
        file: (split_of(path) if len(paths) > 1 else None) or split_of(file)
        for path, files in found.items()
        for file in files
    }
    return by_split(list(named), source, named.get) if named else {}


def _files_in(path: Path, belongs: Callable[[Path], bool]) -> list[Path]:
    """The path itself, or the files in a folder, if they belong."""
    if path.is_file():
        return [path] if belongs(path) else []
    for folder in (path, path / "data"):
        files = [p for p in (visible(folder) if folder.is_dir() else []) if p.is_file()]
        if files := [p for p in files if belongs(p)]:
            return files
    return []


def check_all_read(source: Source, files: Files) -> None:
    """Raise ``DataError`` for a file of a source that is not among those that are read."""
    read = [path for of_split in files.values() for path in of_split]
    for path in existing(source):
        if path.is_file() and path not in read:
            raise DataError(
                f"{path}: is of another format than {read[0]}; give files of one format"
            )


def empty(source: Source, expected: str, path: Path | None = None) -> DataError:
    """The error for a path, the only one if it is not given, at which nothing can be read."""
    place = source.title if path is None else str(path)
    path = path or existing(source)[0]
    if path.is_file():
        return DataError(f"{place}: its name has no known format; expected {expected}")
    there = [inner.name for inner in visible(path)]
    return DataError(f"{place}: holds {listed(there)}; expected {expected}")


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
    root = Path(os.path.commonpath([path.parent.absolute() for path in paths]))
    names = (path.absolute().relative_to(root).as_posix() for path in paths)
    lines = (f"{one}  {name}\n" for one, name in zip(sums, names, strict=True))
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def _file_digest(path: Path) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_gzip(path: Path) -> bool:
    return path.name.lower().endswith(".gz")
