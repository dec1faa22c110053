"""Labelled samples as they were found, before they are split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .error import DataError
from .labels import Codes, encode, encode_as, need_two
from .paths import by_split, digest, empty, existing, name_of, split_of, visible
from .sheets import Place
from .source import Source


@dataclass(frozen=True)
class Labelled:
    """All samples of a data set, training samples first.

    Attributes:
        samples: images ``(N, C, H, W)`` uint8, or N texts.
        labels: N integers or names.
        place: names a sample.
        parts: samples of each split.
        name, sha256: of the data set.
        declared: names of the labels 0, 1, …, if the data has them.
    """

    samples: Any
    labels: Sequence[Any]
    place: Place
    parts: Mapping[str, int]
    name: str
    sha256: str
    declared: tuple[str, ...] = ()

    def encode_labels(self, title: str) -> tuple[Codes, tuple[str, ...]]:
        """Labels as ``(N,)`` places in the names of the classes, and those names.

        Raises:
            DataError: naming the row of an invalid label, or if all training labels are the same.
        """
        y, classes = encode("label", self.labels, self.place, self.parts, self.declared)
        need_two(title, "label", y[: self.parts["train"]], classes)
        return y, classes

    def encode_labels_as(self, classes: Sequence[str]) -> Codes:
        """Labels of other data as ``(N,)`` places in the classes of a training."""
        return encode_as(classes, "label", self.labels, self.place, self.declared)


def read_class_folders(
    source: Source,
    belongs: Callable[[Path], bool],
    expected: str,
    read: Callable[[Sequence[Path], Place], Any],
) -> Labelled:
    """Samples in a folder per class, below a folder per split or not.

    ``ROOT/cat/…`` is to be split; ``ROOT/train/cat/…`` next to ``ROOT/test/…`` is split already.

    Args:
        source: the path.
        belongs: whether a file is a sample.
        expected: what the path should hold, for errors.
        read: the samples of files, whose place it is given.

    Raises:
        DataError: if there is no class folder, or naming one that holds no sample.
    """
    classes = _class_folders(source, expected)
    files = {
        split: {path: folder.name for folder in folders for path in files_below(folder, belongs)}
        for split, folders in classes.items()
    }
    paths = [path for of_split in files.values() for path in of_split]
    labels = [label for of_split in files.values() for label in of_split.values()]
    parts = {split: len(of_split) for split, of_split in files.items()}

    def place(row: int) -> str:
        return str(paths[row])

    sha256 = digest({split: list(of_split) for split, of_split in files.items()})
    return Labelled(read(paths, place), labels, place, parts, name_of(source), sha256)


def _class_folders(source: Source, expected: str) -> dict[str, list[Path]]:
    """The class folders of each split, sorted."""
    roots = existing(source)
    named: dict[Path, str | None] = {}
    for root in roots:
        folders = [] if root.is_file() else _folders_in(root)
        if not folders:
            raise empty(source, expected, root if len(roots) > 1 else None)
        # a class may be called train: a split holds folders
        splits = {folder: split_of(folder) for folder in folders if _folders_in(folder)}
        splits = {folder: split for folder, split in splits.items() if split}
        named |= splits or {root: split_of(root) if len(roots) > 1 else None}
    return {
        split: [folder for path in paths for folder in _folders_in(path)]
        for split, paths in by_split(list(named), source, named.get).items()
    }


def _folders_in(path: Path) -> list[Path]:
    return [inner for inner in visible(path) if inner.is_dir()]


def files_below(folder: Path, belongs: Callable[[Path], bool]) -> list[Path]:
    """Files at any depth in a folder, sorted, without hidden ones; ``DataError`` if none belong."""
    inner = (p for p in folder.rglob("*") if not p.name.startswith("."))
    files = sorted(p for p in inner if p.is_file() and belongs(p))
    if not files:
        raise DataError(f"{folder}: the folder holds no file that can be read; fill or remove it")
    return files
