"""Arrays of images and labels: IDX files, the format of MNIST, and NumPy archives."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .error import DataError, nearest, reading
from .growth import check_growth
from .labelled import Labelled
from .paths import Files, check_all_read, digest, empty_file, name_of, read_bytes, suffix_of
from .pixels import Pixels, in_order, joined
from .source import Source
from .split import SPLITS

_IDX_IMAGES = re.compile(r"images[-.]idx3[-.]ubyte(\.gz)?$", re.IGNORECASE)


def is_idx(path: Path) -> bool:
    """Whether a file holds the images of an IDX pair."""
    return _IDX_IMAGES.search(path.name) is not None


def read_idx(
    source: Source, files: Files, channels: int | None, size: Sequence[int] | None
) -> Labelled:
    """Images and, from files in the same folder, their labels."""
    pixels, labels, parts, used = {}, {}, {}, {}
    for split, paths in files.items():
        pairs = [(path, _labels_of(path)) for path in paths]
        for path, labels_path in pairs:
            pixels[str(path)] = _idx_array(path, axes=3)[:, None]
            labels[str(path)] = _idx_array(labels_path, axes=1).tolist()
            count, named = len(pixels[str(path)]), len(labels[str(path)])
            if count != named:
                raise DataError(
                    f"{labels_path}: {named} labels for the {count} images of {path}; "
                    "get the pair of files again"
                )
        parts[split] = sum(len(pixels[str(path)]) for path in paths)
        used[split] = [file for pair in pairs for file in pair]
    return _of_arrays(source, pixels, labels, parts, digest(used), channels, size)


def _labels_of(images: Path) -> Path:
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    choices = {images.with_name(n) for n in (name, name.removesuffix(".gz"), f"{name}.gz")}
    for path in sorted(choices):
        if path.exists():
            return path
    raise DataError(f"{images}: no file of labels in its folder; put {name} there")


def _idx_array(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    content = read_bytes(path)
    expected = bytes([0, 0, 8, axes])
    if content[:4] != expected:
        raise DataError(
            f"{path}: begins with {content[:4].hex(' ')}, an IDX file of bytes with {axes} axes "
            f"with {expected.hex(' ')}; download it again or exclude it"
        )
    start = 4 + 4 * axes
    shape = tuple(int(n) for n in np.frombuffer(content[4:start].ljust(4 * axes, b"\0"), ">u4"))
    size = int(np.prod(shape, dtype=object))
    if len(content) - start != size:
        raise DataError(
            f"{path}: holds {max(len(content) - start, 0)} values, but its header declares "
            f"{' x '.join(map(str, shape))} = {size}; download it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def is_npz(path: Path) -> bool:
    """Whether a file is a NumPy archive."""
    return suffix_of(path) == ".npz"


def read_npz(
    source: Source, files: Files, channels: int | None, size: Sequence[int] | None
) -> Labelled:
    """``x_train, y_train, x_test, y_test`` and perhaps ``x_val, y_val``; or ``x, y``."""
    check_all_read(source, files)
    pixels, labels = {}, {}
    parts: dict[str, int] = {}
    for split, (x_place, images), (y_place, values) in _npz_pairs(files):
        pixels[x_place] = in_order(x_place, images)
        labels[x_place] = _checked_labels(y_place, values, len(images))
        parts[split] = parts.get(split, 0) + len(images)
    return _of_arrays(source, pixels, labels, parts, digest(files), channels, size)


def _npz_pairs(files: Files) -> list[tuple[str, tuple[str, Any], tuple[str, Any]]]:
    """Split, images and labels of each pair of arrays, each with a name for errors."""
    found = []
    for split, paths in files.items():
        for path in paths:
            arrays = _npz_arrays(path)
            suffixes = {f"_{s}": s for s in SPLITS if f"x_{s}" in arrays}
            if suffixes and "_train" not in suffixes:
                raise _lacks(path, "x_train", arrays)
            for suffix, of in (suffixes or {"": split}).items():
                for name in (f"x{suffix}", f"y{suffix}"):
                    if name not in arrays:
                        raise _lacks(path, name, arrays)
                x, y = ((f"{path}, {n}{suffix}", arrays[f"{n}{suffix}"]) for n in "xy")
                found.append((of, x, y))
    return sorted(found, key=lambda pair: SPLITS.index(pair[0]))


def _npz_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.stat().st_size:
        raise empty_file(path)
    with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        unpacked = sum(entry.file_size for entry in archive.zip.infolist())
        check_growth(path, path.stat().st_size, unpacked, "save it with numpy.savez")
        return {name: archive[name] for name in archive.files}


def _lacks(path: Path, name: str, arrays: Mapping[str, Any]) -> DataError:
    return DataError(
        f"{path}: no array {name!r}; {nearest(name, arrays)}. Save x_train, y_train, x_test and "
        "y_test, or x and y"
    )


def _checked_labels(place: str, values: npt.NDArray[Any], count: int) -> Sequence[Any]:
    """Labels as a list, ``(N, 1)`` as ``(N,)``."""
    if values.shape not in ((count,), (count, 1)):
        raise DataError(
            f"{place}: its shape is {values.shape} for {count} images; save one label per image"
        )
    if values.dtype.kind not in "iuU":
        raise DataError(
            f"{place}: labels are of type {values.dtype}; save them as integers or text"
        )
    values = values.reshape(count)
    if values.dtype.kind == "i" and (values < 0).any():
        row = int(np.flatnonzero(values < 0)[0])
        raise DataError(
            f"{place}, row {row + 1}: the label {values[row]} is out of range; "
            "expected an integer >= 0: fix or remove the row"
        )
    labels: list[Any] = values.tolist()
    return labels


def _of_arrays(
    source: Source,
    pixels: dict[str, Pixels],
    labels: Mapping[str, Sequence[Any]],
    parts: dict[str, int],
    sha256: str,
    channels: int | None,
    size: Sequence[int] | None,
) -> Labelled:
    """Images of named arrays, each with its labels; none is empty, and all are of one shape."""
    for title, images in pixels.items():
        if not len(images):
            raise DataError(f"{title}: holds no image; fill it or leave it out")
    every = [label for of in labels.values() for label in of]
    ends = np.cumsum([len(of) for of in pixels.values()])

    def place(row: int) -> str:
        array = int(np.searchsorted(ends, row, side="right"))
        title = list(pixels)[array]
        return f"{title}, row {row - int(ends[array]) + len(pixels[title]) + 1}"

    x = joined(pixels, channels, size)
    return Labelled(x, every, place, parts, name_of(source), sha256)
