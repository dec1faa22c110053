"""A folder per class, below a folder per split or not."""

from collections.abc import Callable
from pathlib import Path

from .error import DataError
from .paths import by_split, existing, split_of, visible
from .source import Source

#: Files of each split with their class.
Classes = dict[str, dict[Path, str]]


def class_files(source: Source, belongs: Callable[[Path], bool]) -> Classes:
    """Files of class folders by split, sorted; nothing where there is no such folder.

    ``ROOT/cat/…`` is to be split; ``ROOT/train/cat/…`` next to ``ROOT/test/…`` is split already.

    Raises:
        DataError: naming a class folder that holds no such file.
    """
    root = existing(source)
    folders = [path for path in visible(root) if path.is_dir()]
    # a class may be called train: a split holds folders
    splits = [f for f in folders if split_of(f) and any(p.is_dir() for p in visible(f))]
    if not splits:
        return {"train": _files(folders, belongs)} if folders else {}
    found = {
        split: [folder for path in paths for folder in visible(path) if folder.is_dir()]
        for split, paths in by_split(splits, source).items()
    }
    return {split: _files(classes, belongs) for split, classes in found.items()}


def _files(folders: list[Path], belongs: Callable[[Path], bool]) -> dict[Path, str]:
    return {path: folder.name for folder in folders for path in _files_below(folder, belongs)}


def _files_below(folder: Path, belongs: Callable[[Path], bool]) -> list[Path]:
    inner = (p for p in folder.rglob("*") if not p.name.startswith("."))
    files = sorted(p for p in inner if p.is_file() and belongs(p))
    if not files:
        raise DataError(f"{folder}: the folder holds no file that can be read; fill or remove it")
    return files
