"""Labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .arrays import is_idx, is_npz, read_idx, read_npz
from .error import DataError
from .hub import hub_sheets
from .labelled import Labelled, read_class_folders
from .open import sheets_of
from .paths import Files, files_of, suffix_of
from .pixels import Pixels, decode
from .records import Dialect
from .sheets import Place, Sheets
from .source import KEY, ImageSource
from .split import Index, Splits, cut

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


def _labelled(source: ImageSource) -> Labelled:
    if source.hub is not None:
        return _from_sheets(source, hub_sheets(source))
    for belongs, read in _LAYOUTS:
        files = files_of(source, belongs)
        if files:
            return read(source, files)

    def decode_files(paths: Sequence[Path], place: Place) -> Pixels:
        contents = (path.read_bytes() for path in paths)
        return decode(contents, len(paths), place, source.channels)

    return read_class_folders(source, _is_image, _EXPECTED, decode_files)


def _is_parquet(path: Path) -> bool:
    return suffix_of(path) == ".parquet"


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _read_parquet(source: ImageSource, files: Files) -> Labelled:
    return _from_sheets(source, sheets_of(source, files, Dialect()))


#: Which files hold images and labels, and how they are read.
_LAYOUTS = ((_is_parquet, _read_parquet), (is_idx, read_idx), (is_npz, read_npz))


def _from_sheets(source: ImageSource, sheets: Sheets) -> Labelled:
    image = source.image or sheets.first_of(f"{KEY}.image", _IMAGE_COLUMNS)
    label = source.label or sheets.first_of(f"{KEY}.label", _LABEL_COLUMNS)
    cells = sheets.column(f"{KEY}.image", image)
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
