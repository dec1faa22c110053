"""Images and labels as they were found, before they are split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .error import DataError
from .pixels import Pixels, joined
from .sheets import Place
from .source import ImageSource


@dataclass(frozen=True)
class Pictures:
    """All images of a data set, training images first.

    Attributes:
        x: ``(N, C, H, W)`` uint8.
        labels: N integers or names.
        place: names an image.
        parts: images of each split.
        name, sha256: of the data set.
        declared: names of the labels 0, 1, …, where the data has them.
    """

    x: Pixels
    labels: Sequence[Any]
    place: Place
    parts: Mapping[str, int]
    name: str
    sha256: str
    declared: tuple[str, ...] = ()


def of_arrays(
    source: ImageSource,
    pixels: dict[str, Pixels],
    labels: Mapping[str, Sequence[Any]],
    parts: dict[str, int],
    name: str,
    sha256: str,
) -> Pictures:
    """Pictures made of named arrays, each with its labels.

    Raises:
        DataError: if an array is empty, or the arrays' images are not all of one shape.
    """
    for title, images in pixels.items():
        if not len(images):
            raise DataError(f"{title}: holds no image; fill it or leave it out")
    every = [label for of in labels.values() for label in of]
    ends = np.cumsum([len(of) for of in pixels.values()])

    def place(row: int) -> str:
        array = int(np.searchsorted(ends, row, side="right"))
        title = list(pixels)[array]
        return f"{title}, row {row - int(ends[array]) + len(pixels[title]) + 1}"

    return Pictures(joined(pixels, source.channels), every, place, parts, name, sha256)
