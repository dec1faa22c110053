"""Labelled images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .delimited import Dialect
from .error import DataError
from .folders import class_files
from .hub import hub_sheets
from .idx import find_idx, read_idx
from .kinds import Images
from .labels import encode, need_two
from .npz import find_npz, read_npz
from .open import sheets_of
from .paths import Files, digest, empty, existing, files_of, suffix_of
from .pictures import Pictures
from .pixels import decode
from .sheets import Place, Sheets
from .source import KEY, ImageSource
from .split import Index, Splits, cut

_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm")
}
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")


def read_images(source: ImageSource) -> Splits[Images]:
    """Images with labels: a folder per class, Parquet as on the hub, IDX pairs, or ``.npz``.

    All images have one size; the first one decides between gray and colour.

    Raises:
        DataError: naming file, row and cure.
    """
    found = _pictures(source)
    y, classes = encode("label", found.labels, found.place, found.parts, found.declared)
    need_two(source.title, "label", y[: found.parts["train"]], classes)

    def take(index: Index) -> Images:
        return Images(torch.from_numpy(found.x[index]), torch.from_numpy(y[index]), classes)

    return cut(found.parts, source, y).splits(found.name, found.sha256, take)


def _pictures(source: ImageSource) -> Pictures:
    if source.hub is not None:
        return _from_sheets(source, hub_sheets(source))
    for layout in _LAYOUTS:
        files = layout.find(source)
        if files:
            return layout.read(source, files)
    folders = {} if existing(source).is_file() else class_files(source, _is_image)
    if not folders:
        raise empty(source, _EXPECTED)
    return _from_folders(source, folders)


def _find_parquet(source: ImageSource) -> Files:
    return files_of(source, lambda path: suffix_of(path) == ".parquet")


def _read_parquet(source: ImageSource, files: Files) -> Pictures:
    return _from_sheets(source, sheets_of(source, files, Dialect()))


@dataclass(frozen=True)
class _Layout:
    """A way images are kept: how its files are found, and how they are read."""

    find: Callable[[ImageSource], Files]
    read: Callable[[ImageSource, Files], Pictures]


_LAYOUTS = (
    _Layout(_find_parquet, _read_parquet),
    _Layout(find_idx, read_idx),
    _Layout(find_npz, read_npz),
)

_EXPECTED = (
    "one folder of images per class (perhaps in train/ and test/), train.parquet and such, "
    "train-images-idx3-ubyte.gz and such, or an .npz"
)


def _from_sheets(source: ImageSource, sheets: Sheets) -> Pictures:
    image = source.image or sheets.first_of(f"{KEY}.image", _IMAGE_COLUMNS)
    label = source.label or sheets.first_of(f"{KEY}.label", _LABEL_COLUMNS)
    cells = sheets.column(f"{KEY}.image", image)
    labels = sheets.column(f"{KEY}.label", label)
    encoded = (_content(cell, sheets.place, row) for row, cell in enumerate(cells))
    x = decode(encoded, len(cells), sheets.place, source.channels)
    found = (sheets.place, sheets.parts, sheets.name, sheets.sha256, sheets.declared(label))
    return Pictures(x, labels, *found)


def _content(cell: Any, place: Place, row: int) -> bytes:
    """The bytes of an image: the cell itself, or its field ``bytes``."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes) or not content:
        raise DataError(
            f"{place(row)}: no bytes of an image, but {type(content).__name__}; "
            "save the images' bytes in the column, or remove the row"
        )
    return content


def _from_folders(source: ImageSource, folders: dict[str, dict[Path, str]]) -> Pictures:
    paths = [path for files in folders.values() for path in files]
    labels = [label for files in folders.values() for label in files.values()]
    parts = {split: len(files) for split, files in folders.items()}

    def place(row: int) -> str:
        return str(paths[row])

    x = decode(_contents(paths), len(paths), place, source.channels)
    sums = digest({split: list(files) for split, files in folders.items()})
    return Pictures(x, labels, place, parts, existing(source).name, sums)


def _contents(paths: Sequence[Path]) -> Any:
    return (path.read_bytes() for path in paths)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES
