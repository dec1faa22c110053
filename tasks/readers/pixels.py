"""Encoded images and arrays of pixels, as one array of one shape."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .error import DataError, needed, reading
from .growth import check_growth
from .sheets import Place
from .source import KEY

#: ``(N, C, H, W)`` uint8.
Pixels = npt.NDArray[np.uint8]

_MODES = {1: "L", 3: "RGB"}
_CONVERT = f"give {KEY}.channels=3 or {KEY}.channels=1 to convert every image"


def decode(images: Iterable[bytes], count: int, place: Place, channels: int | None) -> Pixels:
    """Decode JPEG, PNG and whatever else Pillow reads.

    Args:
        images: the bytes of each.
        count: how many there are.
        place: names one of them.
        channels: 1 or 3 to convert all; None for what the first one has.

    Raises:
        DataError: naming an image that is corrupt, or of another size or mode than the first.
    """
    pil = needed("PIL.Image", "data", place(0))
    pixels = np.empty((0, 0, 0, 0), np.uint8)
    size, mode = (0, 0), ""
    for row, encoded in enumerate(images):
        with reading(place(row)):
            image = pil.open(io.BytesIO(encoded))
            unpacked = image.width * image.height * len(image.getbands())
            check_growth(place(row), len(encoded), unpacked, "save it uncompressed or scaled down")
        if not row:
            size, mode = image.size, image.mode if channels is None else _MODES[channels]
            if mode not in _MODES.values():
                raise DataError(f"{place(0)}: the image is of mode {mode}; {_CONVERT}")
            with reading(place(0)):
                pixels = np.empty((count, *size[::-1], len(mode.replace("L", "1"))), np.uint8)
        _check_same(image, size, None if channels else mode, place(row))
        with reading(place(row)):
            image.load()
            pixels[row] = np.asarray(image.convert(mode)).reshape(pixels.shape[1:])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _check_same(image: Any, size: tuple[int, int], mode: str | None, place: str) -> None:
    if image.size != size:
        raise DataError(
            f"{place}: the image is {_times(image.size)} and the first one {_times(size)} "
            "(width x height); make all images one size, or remove it"
        )
    if mode is not None and image.mode != mode:
        raise DataError(
            f"{place}: the image is of mode {image.mode} and the first one of {mode}; {_CONVERT}"
        )


def in_order(place: str, pixels: npt.NDArray[Any]) -> Pixels:
    """An array of images with its axes as ``(N, C, H, W)``.

    Args:
        place: names the array.
        pixels: uint8, ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` with C 1 or 3.

    >>> in_order("x", np.zeros((2, 8, 8, 3), np.uint8)).shape
    (2, 3, 8, 8)
    """
    if pixels.dtype != np.uint8:
        raise DataError(f"{place}: pixels are of type {pixels.dtype}; save them as uint8, 0 to 255")
    if pixels.ndim == 3:
        return pixels[:, None]
    if pixels.ndim == 4 and pixels.shape[3] in _MODES:
        return pixels.transpose(0, 3, 1, 2)
    if pixels.ndim == 4 and pixels.shape[1] in _MODES:
        return pixels
    raise DataError(
        f"{place}: its shape is {pixels.shape}; save images as (N, H, W), (N, H, W, C) or "
        "(N, C, H, W) with 1 or 3 channels"
    )


def joined(named: dict[str, Pixels], channels: int | None) -> Pixels:
    """Arrays of images one after the other, with as many channels as asked for.

    Raises:
        DataError: naming an array whose images are not of the first one's shape.
    """
    arrays = [_with_channels(pixels, channels) for pixels in named.values()]
    shape = arrays[0].shape[1:]
    for place, pixels in zip(named, arrays, strict=True):
        if pixels.shape[1:] != shape:
            raise DataError(
                f"{place}: the images are {_times(pixels.shape[1:])} and those of "
                f"{next(iter(named))} {_times(shape)} (channels x height x width); "
                f"make all images one size, or convert them with {KEY}.channels=1 or 3"
            )
    return np.concatenate(arrays)


def _with_channels(pixels: Pixels, channels: int | None) -> Pixels:
    if channels is None or pixels.shape[1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=1)
    weights = np.array([19595, 38470, 7471], np.uint32)  # ITU-R 601-2, as Pillow rounds it
    gray = np.einsum("nchw,c->nhw", pixels.astype(np.uint32), weights) + 0x8000 >> 16
    return gray.astype(np.uint8)[:, None]


def _times(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))
