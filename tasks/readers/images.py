"""Labelled images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from routers import OptionError

from ..loading.on_demand import OnDemand
from .arrays import is_idx, is_npz, read_idx, read_npz
from .data_set import DataSet
from .error import DataError
from .hub import hub_sheets
from .labelled import Labelled, files_below, read_class_folders
from .labels import Codes, check_classes
from .open import sheets_of
from .paths import check_all_read, digest, existing, files_of, name_of, read_bytes, suffix_of
from .pixels import Pixels, decode
from .records import Dialect
from .sheets import Place, Sheets
from .source import KEY, Source
from .split import Index, Splits, cut, test_rows
from .unpack import unpacked

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
        x: ``(N, C, H, W)`` uint8, a tensor or ``OnDemand``.
        y: ``(N,)`` int64, places in ``classes``.
        classes: their names.
    """

    x: Any
    y: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.x.dtype != torch.uint8 or len(self.x.shape) != 4:
            raise DataError(
                f"Images: x is {self.x.dtype} of shape {tuple(self.x.shape)}; "
                "expected torch.uint8 of shape (N, C, H, W)"
            )
        check_classes("Images", self.y, len(self.x), self.classes)

    @property
    def strata(self) -> Codes:
        """The classes, ``(N,)``."""
        return self.y.numpy()

    def take(self, rows: Index) -> "Images":
        """Some of the images."""
        x = self.x.select(rows) if isinstance(self.x, OnDemand) else self.x[rows]
        return Images(x, self.y[rows], self.classes)


@dataclass(frozen=True)
class ImageSource(Source, DataSet[Images]):
    """Labelled images: a folder per class, Parquet as on the hub, IDX pairs, or ``.npz``.

    Attributes:
        image, label: their columns in Parquet; the hub's usual names are found by themselves.
        channels: 1 or 3 to convert every image to gray or colour; else all must be as the first.
        size: height and width to which images are scaled, with black borders where their
            proportions differ; None for images that all have one size.
    """

    image: str | None = None
    label: str | None = None
    channels: int | None = None
    size: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in (None, 1, 3):
            raise OptionError(f"{KEY}.channels", self.channels, "1 (gray), 3 (colour) or null")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise OptionError(f"{KEY}.size", self.size, "[HEIGHT, WIDTH], integers >= 1, or null")

    def read(self) -> Splits[Images]:
        """The images; without ``channels`` the first one decides between gray and colour.

        Raises:
            DataError: naming file, row and cure.
        """
        with unpacked(self) as source:
            found = _labelled(source)
            y, classes = found.encode_labels(source.title)
        images = Images(torch.from_numpy(found.samples), torch.from_numpy(y), classes)
        return cut(found.parts, self, y).splits(found.name, found.sha256, images.take)

    def read_other(
        self, trained: DataSet[Images], known: Splits[Images], labelled: bool
    ) -> Splits[Images]:
        """The splits of a training, but with these images to test on.

        A folder without labels may hold images at any depth. Classes and their order, and
        channels, stay as they were. If not ``labelled``, labels are not read, and ``y`` is -1.

        Raises:
            DataError: naming file, row and cure, also for a class that is new or another size.
        """
        shape, classes = known.train.x.shape[1:], known.train.classes
        with unpacked(replace(self, channels=shape[0])) as source:
            found = _labelled(source, labelled)
            if found.samples.shape[1:] != shape:
                size, expected = ("x".join(map(str, s[-2:])) for s in (found.samples.shape, shape))
                raise DataError(
                    f"{source.title}: images of {size} pixels, and the model was trained on "
                    f"{expected}; resize them"
                )
            y = np.full(len(found.samples), -1)
            if labelled:
                y = found.encode_labels_as(classes)
        rows = test_rows(found.parts)
        x = torch.from_numpy(found.samples[rows])
        test = Images(x, torch.from_numpy(y[rows]), classes)
        return known.tested_on(found.name, found.sha256, test)


def _labelled(source: ImageSource, labelled: bool = True) -> Labelled:
    if source.hub is not None:
        return _from_sheets(source, hub_sheets(source), labelled)
    if files := files_of(source, _is_parquet):
        check_all_read(source, files)
        return _from_sheets(source, sheets_of(source, files, Dialect()), labelled)
    for belongs, read in _LAYOUTS:
        files = files_of(source, belongs)
        if files:
            return read(source, files, source.channels, source.size)

    def decode_files(paths: Sequence[Path], place: Place) -> Pixels:
        return decode(map(read_bytes, paths), len(paths), place, source.channels, source.size)

    if labelled:
        return read_class_folders(source, _is_image, _EXPECTED, decode_files)
    roots = existing(source)
    each = ([root] if _is_image(root) else files_below(root, _is_image) for root in roots)
    paths = list(chain.from_iterable(each))

    def place(row: int) -> str:
        return str(paths[row])

    parts, sha256 = {"train": len(paths)}, digest({"train": paths})
    return Labelled(decode_files(paths, place), (), place, parts, name_of(source), sha256)


def _is_parquet(path: Path) -> bool:
    return suffix_of(path) == ".parquet"


def _is_image(path: Path) -> bool:
    return suffix_of(path) in _SUFFIXES


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
    x = decode(encoded, len(cells), sheets.place, source.channels, source.size)
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
