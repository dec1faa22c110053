"""Encoded images and arrays of pixels, as one array of one shape."""

import io
from collections.abc import Iterable, Sequence
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


def decode(
    images: Iterable[bytes],
    count: int,
    place: Place,
    channels: int | None,
    size: Sequence[int] | None = None,
) -> Pixels:
    """Decode JPEG, PNG and whatever else Pillow reads.

    Args:
        images: the bytes of each.
        count: how many there are.
        place: names one of them.
        channels: 1 or 3 to convert all; None for what the first one has.
        size: height and width of all; None for those of the first one.

    Raises:
        DataError: naming an image that is corrupt, or of another size or mode than the first.
    """
    pil = needed("PIL.Image", "data", place(0))
    pixels = np.empty((0, 0, 0, 0), np.uint8)
    mode, shape = "", (0, 0)
    for row, encoded in enumerate(images):
        with reading(place(row)):
            image = pil.open(io.BytesIO(encoded))
            unpacked = image.width * image.height * len(image.getbands())
            check_growth(place(row), len(encoded), unpacked, "save it uncompressed or scaled down")
        if not row:
            mode, shape = image.mode if channels is None else _MODES[channels], image.size
            if mode not in _MODES.values():
                raise DataError(f"{place(0)}: the image is of mode {mode}; {_CONVERT}")
            with reading(place(0)):
                held = (count, *(size or shape[::-1]), len(mode.replace("L", "1")))
                pixels = np.empty(held, np.uint8)
        _check_same(image, None if size else shape, None if channels else mode, place(row))
        with reading(place(row)):
            image.load()
            pixels[row] = _fitted(image.convert(mode), size).reshape(pixels.shape[1:])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _fitted(image: Any, size: Sequence[int] | None) -> npt.NDArray[np.uint8]:
    """An image scaled to fit into a height and width, in the middle of black borders."""
    if size is not None and image.size != (size[1], size[0]):
        ops = needed("PIL.ImageOps", "data", f"{KEY}.size")
        image = ops.pad(image, (size[1], size[0]))
    return np.asarray(image)


def _check_same(image: Any, size: tuple[int, int] | None, mode: str | None, place: str) -> None:
    if size is not None and image.size != size:
        raise DataError(
            f"{place}: the image is {_times(image.size)} and the first one {_times(size)} "
            f"(width x height); scale all to one size with {KEY}.size=[HEIGHT,WIDTH], or remove it"
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


def joined(
    named: dict[str, Pixels], channels: int | None, size: Sequence[int] | None = None
) -> Pixels:
    """Arrays of images one after the other, with the channels and the size asked for.

    Raises:
        DataError: naming an array whose images are not of the first one's shape.
    """
    arrays = [_resized(_with_channels(pixels, channels), size) for pixels in named.values()]
    shape = arrays[0].shape[1:]
    for place, pixels in zip(named, arrays, strict=True):
        if pixels.shape[1:] != shape:
            raise DataError(
                f"{place}: the images are {_times(pixels.shape[1:])} and those of "
                f"{next(iter(named))} {_times(shape)} (channels x height x width); "
                f"bring all to one size with {KEY}.size=[HEIGHT,WIDTH], to one number of channels "
                f"with {KEY}.channels=1 or 3"
            )
    return np.concatenate(arrays)


def _resized(pixels: Pixels, size: Sequence[int] | None) -> Pixels:
    if size is None or pixels.shape[2:] == tuple(size):
        return pixels
    pil = needed("PIL.Image", "data", f"{KEY}.size")
    rows = pixels.transpose(0, 2, 3, 1)
    rows = rows[..., 0] if pixels.shape[1] == 1 else rows
    fitted = np.stack([_fitted(pil.fromarray(np.ascontiguousarray(row)), size) for row in rows])
    return in_order("images", fitted)


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
