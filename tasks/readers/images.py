"""Labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import is_idx, is_npz, read_idx, read_npz
from .error import DataError
from .hub import hub_sheets
from .labelled import Labelled, files_below, read_class_folders
from .open import sheets_of
from .paths import digest, existing, files_of, read_bytes, suffix_of
from .pixels import Pixels, decode
from .records import Dialect
from .sheets import Place, Sheets
from .source import KEY, ImageSource
from .split import Index, Splits, cut, test_rows

_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm")
}
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")

_EXPECTED = (
    "one folder of images per class (perhaps in train/ and test/), train.parquet and such, "
    "train-images-idx3-ubyte.gz and such, or an .npz"
)


@dataclass(frozen=True)
class Images:
    """Images with labels.

    Attributes:
        x: ``(N, C, H, W)`` uint8.
        y: ``(N,)`` int64, places in ``classes``.
        classes: their names.
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]


def read_images(source: ImageSource) -> Splits[Images]:
    """Images with labels: a folder per class, Parquet as on the hub, IDX pairs, or ``.npz``.

    All images have one size; the first one decides between gray and colour.

    Raises:
        DataError: naming file, row and cure.
    """
    found = _labelled(source)
    y, classes = found.encode_labels(source.title)

    def take(index: Index) -> Images:
        return Images(torch.from_numpy(found.samples[index]), torch.from_numpy(y[index]), classes)

    return cut(found.parts, source, y).splits(found.name, found.sha256, take)


def read_other_images(source: ImageSource, known: Splits[Images], labelled: bool) -> Splits[Images]:
    """The same splits, but with images of another source to test on.

    These are its test split if it comes with one, else all; a folder without labels may hold
    images at any depth. Classes and their order, and channels, stay as they were. If not
    ``labelled``, labels are not read, and ``y`` is -1.

    Raises:
        DataError: naming file, row and cure, also for a class that is new or another size.
    """
    shape, classes = known.train.x.shape[1:], known.train.classes
    found = _labelled(replace(source, channels=shape[0]), labelled)
    if found.samples.shape[1:] != shape:
        size, expected = ("x".join(map(str, s[-2:])) for s in (found.samples.shape, shape))
        raise DataError(
            f"{source.title}: images of {size} pixels, and the model was trained on {expected}; "
            "resize them"
        )
    rows = test_rows(found.parts)
    y = np.full(len(found.samples), -1)
    if labelled:
        y = found.encode_labels_as(classes)
    x = torch.from_numpy(found.samples[rows])
    test = Images(x, torch.from_numpy(y[rows]), classes)
    return known.tested_on(found.name, found.sha256, test)


def _labelled(source: ImageSource, labelled: bool = True) -> Labelled:
    if source.hub is not None:
        return _from_sheets(source, hub_sheets(source), labelled)
    if files := files_of(source, _is_parquet):
        return _from_sheets(source, sheets_of(source, files, Dialect()), labelled)
    for belongs, read in _LAYOUTS:
        files = files_of(source, belongs)
        if files:
            return read(source, files)

    def decode_files(paths: Sequence[Path], place: Place) -> Pixels:
        return decode(map(read_bytes, paths), len(paths), place, source.channels)

    if labelled:
        return read_class_folders(source, _is_image, _EXPECTED, decode_files)
    root = existing(source)
    paths = [root] if _is_image(root) else files_below(root, _is_image)

    def place(row: int) -> str:
        return str(paths[row])

    parts, sha256 = {"train": len(paths)}, digest({"train": paths})
    return Labelled(decode_files(paths, place), (), place, parts, root.name, sha256)


def _is_parquet(path: Path) -> bool:
    return suffix_of(path) == ".parquet"


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


#: Which files hold arrays of images and labels, and how they are read.
_LAYOUTS = ((is_idx, read_idx), (is_npz, read_npz))


def _from_sheets(source: ImageSource, sheets: Sheets, labelled: bool) -> Labelled:
    image = source.image or sheets.first_of(f"{KEY}.image", _IMAGE_COLUMNS)
    cells = sheets.column(f"{KEY}.image", image)
    label = ""
    labels: Sequence[Any] = ()
    if labelled:
        label = source.label or sheets.first_of(f"{KEY}.label", _LABEL_COLUMNS)
        labels = sheets.column(f"{KEY}.label", label)
    encoded = (_content(cell, sheets.place, row) for row, cell in enumerate(cells))
    x = decode(encoded, len(cells), sheets.place, source.channels)
    found = (sheets.place, sheets.parts, sheets.name, sheets.sha256, sheets.declared(label))
    return Labelled(x, labels, *found)


def _content(cell: Any, place: Place, row: int) -> bytes:
    """The bytes of an image: the cell itself, or its field ``bytes``."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes) or not content:
        raise DataError(
            f"{place(row)}: no bytes of an image, but {type(content).__name__}; "
            "save the images' bytes in the column, or remove the row"
        )
    return content
