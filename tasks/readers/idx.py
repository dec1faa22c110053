"""IDX files, the format of MNIST: images and labels in a file each."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .error import DataError
from .paths import Files, digest, existing, files_of, read_bytes
from .pictures import Pictures, of_arrays
from .source import ImageSource

_IMAGES = re.compile(r"images[-.]idx3[-.]ubyte(\.gz)?$", re.IGNORECASE)


def find_idx(source: ImageSource) -> Files:
    """The files of images of each split."""
    return files_of(source, lambda path: _IMAGES.search(path.name) is not None)


def read_idx(source: ImageSource, files: Files) -> Pictures:
    """Images and, from files in the same folder, their labels."""
    pixels, labels, parts, used = {}, {}, {}, {}
    for split, paths in files.items():
        pairs = [(path, _labels_of(path)) for path in paths]
        for path, labels_path in pairs:
            pixels[str(path)] = _array(path, axes=3)[:, None]
            labels[str(path)] = _array(labels_path, axes=1).tolist()
            count, named = len(pixels[str(path)]), len(labels[str(path)])
            if count != named:
                raise DataError(
                    f"{labels_path}: {named} labels for the {count} images of {path}; "
                    "get the pair of files again"
                )
        parts[split] = sum(len(pixels[str(path)]) for path in paths)
        used[split] = [file for pair in pairs for file in pair]
    return of_arrays(source, pixels, labels, parts, existing(source).name, digest(used))


def _labels_of(images: Path) -> Path:
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    choices = {images.with_name(n) for n in (name, name.removesuffix(".gz"), f"{name}.gz")}
    for path in sorted(choices):
        if path.exists():
            return path
    raise DataError(f"{images}: no file of labels in its folder; put {name} there")


def _array(path: Path, axes: int) -> npt.NDArray[np.uint8]:
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
