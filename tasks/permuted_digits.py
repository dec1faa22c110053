"""Handwritten digits with permuted pixels: which permutation an image has is hidden."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from routers import OptionError

from ._task import TASKS, Batch, Data, Labeling
from .bases.images import ImageTask
from .digits import Digits


@TASKS.register("permuted_digits")
class PermutedDigits(ImageTask):
    """Ten classes of 8x8 images with permuted pixels; the permutation of an image is hidden.

    Each digit of ``task=digits`` occurs once under every permutation, in the same split. A pixel
    means something else under each, so experts can divide the permutations among them, and no
    position helps to route. How far a router found them is ``nmi.permutation`` of a layer in
    ``result.json``.

    Source: the permuted MNIST of Goodfellow et al. 2013, 1312.6211, section 4, with all
    permutations at once.

    Args:
        permutations: how many there are; the first is none.
        model, ids, augmentation, label_smoothing: as in ``digits``; images are augmented before
            their pixels are permuted.

    >>> test = PermutedDigits().data().test
    >>> len(test["y"]), test["permutation"].bincount().tolist()
    (2880, [360, 360, 360, 360, 360, 360, 360, 360])
    """

    classes = Digits.classes

    def __init__(
        self,
        *,
        permutations: int = 8,
        model: str | Mapping[str, Any] = "mlp",
        ids: str = "content",
        augmentation: str | Mapping[str, Any] = "none",
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__(model, ids, augmentation, label_smoothing)
        if permutations < 2:
            raise OptionError("permutations", permutations, "an integer >= 2")
        random = np.random.default_rng(0)  # NumPy's stream is the same on every machine
        orders = [np.arange(64), *(random.permutation(64) for _ in range(permutations - 1))]
        self.orders = torch.tensor(np.stack(orders))

    def data(self) -> Data:
        return self._data

    @cached_property
    def _data(self) -> Data:
        base = Digits().data()
        digest = hashlib.sha256(base.sha256.encode() + self.orders.numpy().tobytes())
        train, val, test = map(self._repeated, (base.train, base.val, base.test))
        return Data("permuted_digits", digest.hexdigest(), train, val, test)

    def _repeated(self, split: Batch) -> Batch:
        number, rows = len(self.orders), len(split["y"])
        return {
            "x": split["x"].repeat_interleave(number, 0),
            "y": split["y"].repeat_interleave(number),
            "permutation": torch.arange(number).repeat(rows),  # all in each batch, also of a test
        }

    def kinds(self) -> tuple[Labeling, ...]:
        names = tuple(map(str, range(len(self.orders))))
        return (*super().kinds(), Labeling("permutation", names, itemgetter("permutation")))

    def collate(self, batch: Batch) -> Batch:
        orders = self.orders.to(batch["x"].device)[batch["permutation"]]
        pixels = batch["x"].flatten(1).gather(1, orders)
        return {**batch, "x": pixels.view_as(batch["x"])}
