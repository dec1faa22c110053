"""Samples of a torch ``Dataset`` as inputs and labels, in memory or on demand."""

import hashlib
import math
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from routers import ConfigError

from ..loading.on_demand import OnDemand, read_ahead, seeded_draws
from ..loading.seeds import mix_seed
from .error import DataError, listed
from .guess import LABEL_NAMES, TEXT_NAMES
from .images import Images
from .labels import encode_text
from .pixels import in_order
from .texts import Texts

#: Images of up to so many bytes are kept in memory; more are read when a batch asks for them.
MAX_COLLECTED = 2**31

#: Usual keys of samples that are mappings.
INPUT_KEYS = ("image", "img", "pixel_values", "x", "input", *TEXT_NAMES)
LABEL_KEYS = (*LABEL_NAMES, "y", "fine_label")


class TorchSplit:
    """The samples of a ``Dataset``, scanned once: labels, hash, and what fits in memory.

    If not ``labelled``, a sample may be the input alone.
    """

    def __init__(self, title: str, dataset: Any, labelled: bool = True) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise DataError(
                f"{title}: {type(dataset).__name__} has no length or no samples by number, so "
                "training could not resume where it stopped; give a Dataset with __len__ and "
                "__getitem__"
            )
        self.size = len(dataset)
        if not self.size:
            raise DataError(f"{title}: holds no sample; fill it or leave it out")
        self.pairs = _Pairs(title, dataset, labelled)
        self.labels: list[Any] = []
        self.classes = tuple(map(str, getattr(dataset, "classes", ())))
        self.digest = hashlib.sha256()
        self.texts: list[bytes] = []

    def scan(self) -> None:
        """Read every sample."""
        self.shape = _shape_of(self.pairs[0][0])
        self.x = torch.empty(0)
        self.on_demand = bool(self.shape) and math.prod(self.shape) * self.size > MAX_COLLECTED
        pairs: Iterable[Any] = map(self.pairs.__getitem__, range(self.size))
        if self.on_demand:
            pairs = read_ahead(self.pairs, range(self.size))
        elif self.shape:
            self.x = torch.empty((self.size, *self.shape), dtype=torch.uint8)
        for row, (x, label) in enumerate(pairs):
            self.labels.append(label)
            self._check_shape(row, _shape_of(x), self.shape)
            if isinstance(x, bytes):
                self.digest.update(len(x).to_bytes(8, "big") + x)
                self.texts.append(x)
            else:
                self.digest.update(x.numpy().tobytes())
                if not self.on_demand:
                    self.x[row] = x
        if any(isinstance(label, str) for label in self.labels):
            self.classes = ()  # labels are names themselves

    def places(self) -> Iterator[str]:
        """A name for each sample."""
        return (f"{self.pairs.title}, sample {row}" for row in range(self.size))

    def samples(self, y: Tensor, classes: tuple[str, ...]) -> Images | Texts:
        """The samples with their classes."""
        if not self.shape:
            return Texts(self.texts, y, classes)
        if not self.on_demand:
            return Images(self.x, y, classes)
        x: Any = OnDemand(self.pairs.image, torch.arange(self.size), self.shape)
        return Images(x, y, classes)

    def check_alike(self, first: "TorchSplit") -> None:
        """Raise ``DataError`` for images of another shape than those of ``first``."""
        self._check_shape(0, self.shape, first.shape)

    def check_trained(self, shape: tuple[int, ...]) -> None:
        """Raise ``DataError`` for samples of another shape than those of a training."""
        if self.shape != shape:
            raise DataError(
                f"{self.pairs.title}, sample 0: {_shown(self.shape)}, and the model was trained on "
                f"{_shown(shape)}; convert it in the data set"
            )

    def _check_shape(self, row: int, shape: tuple[int, ...], first: tuple[int, ...]) -> None:
        if shape != first:
            shown, expected = (_shown(each) for each in (shape, first))
            raise DataError(
                f"{self.pairs.title}, sample {row}: {shown}, and the first one {expected}; "
                "make all alike in the data set"
            )


def _shape_of(x: Tensor | bytes) -> tuple[int, ...]:
    """The shape of an image; that of a text is empty."""
    return () if isinstance(x, bytes) else tuple(x.shape)


def _shown(shape: tuple[int, ...]) -> str:
    return (
        f"an image of {'x'.join(map(str, shape))} (channels x height x width)" if shape else "text"
    )


class _Pairs(Dataset[tuple[Any, Any]]):
    """Samples of a ``Dataset`` as an input, bytes or uint8 ``(C, H, W)``, and a label."""

    def __init__(self, title: str, dataset: Any, labelled: bool) -> None:
        self.title = title
        self.dataset = dataset
        self.labelled = labelled

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        place = f"{self.title}, sample {row}"
        with own_code(place), seeded_draws() as reseed:
            reseed(mix_seed(0, row))
            sample = self.dataset[row]
        x, y = _pair(place, sample, self.labelled)
        return _input(place, x), _label(y)

    def image(self, row: int) -> Tensor:
        """The input of a sample, with random draws as they come."""
        place = f"{self.title}, sample {row}"
        with own_code(place):
            sample = self.dataset[row]
        image: Tensor = _input(place, _pair(place, sample, self.labelled)[0])
        return image


def _pair(place: str, sample: Any, labelled: bool) -> tuple[Any, Any]:
    """Input and label of a sample; None for a label that is missing and not needed."""
    if isinstance(sample, Mapping):
        keys = list(map(str, sample))
        found = [[key for key in keys if key in usual] for usual in (INPUT_KEYS, LABEL_KEYS)]
        if any(len(names) != 1 for names in found[: 1 + labelled]):
            raise DataError(
                f"{place}: has the keys {listed(keys)}; expected one input such as 'image' or "
                "'text', and one 'label'"
            )
        return sample[found[0][0]], sample[found[1][0]] if labelled else None
    if not labelled and not isinstance(sample, tuple | list):
        return sample, None
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        count = f" of {len(sample)}" if isinstance(sample, tuple | list) else ""
        raise DataError(
            f"{place}: is a {type(sample).__name__}{count}; expected (x, y), or a mapping with "
            "such keys as 'image' and 'label'"
        )
    return sample[0], sample[1]


def _label(y: Any) -> Any:
    is_number = isinstance(y, Tensor | np.generic | np.ndarray)
    return y.item() if is_number and np.prod(y.shape) == 1 else y


def _input(place: str, x: Any) -> Any:
    if isinstance(x, str):
        x = encode_text(x)
    if isinstance(x, bytes):
        if not x:
            raise DataError(f"{place}: the text is empty; leave it out")
        return x
    if hasattr(x, "getbands") and x.mode not in ("L", "RGB"):
        raise DataError(
            f"{place}: the image is of mode {x.mode}; convert it to L or RGB in the data set"
        )
    if not isinstance(x, Tensor | np.ndarray) and not hasattr(x, "__array_interface__"):
        raise DataError(
            f"{place}: the input is a {type(x).__name__}; expected an image (Pillow, array or "
            "tensor) or a text"
        )
    pixels = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    image = in_order(place, _in_bytes(place, pixels)[None])[0]
    return torch.from_numpy(np.ascontiguousarray(image))


def _in_bytes(place: str, pixels: Any) -> Any:
    """Pixels as uint8, of floats from 0 to 1 or integers from 0 to 255."""
    if pixels.dtype == np.uint8 or not pixels.size:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    most = 1 if pixels.dtype.kind in "fb" else 255
    if not 0 <= low <= high <= most:  # NaN is not
        raise DataError(
            f"{place}: pixels from {low:g} to {high:g}; expected uint8, or floats from 0 to 1: "
            "leave out what normalizes them, as the task does"
        )
    return np.round(pixels * (255 / most)).astype(np.uint8)


@contextmanager
def own_code(place: str) -> Iterator[None]:
    """Turn any exception of the user's class into a ``DataError`` with file and line."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # a data set may raise anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise DataError(
            f"{place}: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
        ) from error
