"""NumPy archives of images and labels."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .error import DataError, nearest, reading
from .paths import Files, digest, existing, files_of, suffix_of
from .pictures import Pictures, of_arrays
from .pixels import in_order
from .source import ImageSource
from .split import SPLITS

Arrays = dict[str, npt.NDArray[Any]]


def find_npz(source: ImageSource) -> Files:
    """The archives of each split."""
    return files_of(source, lambda path: suffix_of(path) == ".npz")


def read_npz(source: ImageSource, files: Files) -> Pictures:
    """``x_train, y_train, x_test, y_test`` and perhaps ``x_val, y_val``; or ``x, y``."""
    pixels, labels = {}, {}
    parts: dict[str, int] = {}
    for split, x, y in _pairs(files):
        (x_place, images), (y_place, values) = x, y
        pixels[x_place] = in_order(x_place, images)
        labels[x_place] = _checked_labels(y_place, values, len(images))
        parts[split] = parts.get(split, 0) + len(images)
    return of_arrays(source, pixels, labels, parts, existing(source).name, digest(files))


def _pairs(files: Files) -> list[tuple[str, tuple[str, Any], tuple[str, Any]]]:
    """Split, images and labels of each pair of arrays, each with a name for errors."""
    found = []
    for split, paths in files.items():
        for path in paths:
            arrays = _arrays(path)
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


def _arrays(path: Path) -> Arrays:
    if not path.stat().st_size:
        raise DataError(f"{path}: the file is empty; download it again or exclude it")
    with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _lacks(path: Path, name: str, arrays: Arrays) -> DataError:
    return DataError(
        f"{path}: no array {name!r}; {nearest(name, arrays)}. Save x_train, y_train, x_test and "
        "y_test, or x and y"
    )


def _checked_labels(place: str, values: npt.NDArray[Any], count: int) -> list[Any]:
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
