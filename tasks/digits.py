"""Handwritten digits: 1,797 real 8x8 images that ship with scikit-learn."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch

from ._task import TASKS, Data
from .bases.images import ImageTask


@TASKS.register("digits")
class Digits(ImageTask):
    """Ten classes, 8x8 pixels; 1,257 images to train on, 180 to validate, 360 to test.

    The splits are stratified and the same for every seed. Source: Alpaydin and Kaynak 1998,
    UCI Optical Recognition of Handwritten Digits (test part), as in scikit-learn.

    Args:
        model: backbone for images, a name or ``{name: vit, depth: 2}``.
        ids: input of hash routing: quantized ``content``, or ``position`` of a patch.
        augmentation: random variant of training images, a name or ``{name: affine, …}``.
        label_smoothing: of the cross-entropy.

    >>> len(Digits().data().train["y"])
    1257
    """

    classes = tuple("0123456789")
    part_defaults: ClassVar = {"model": {"overlap": 2}}

    def __init__(
        self,
        *,
        model: str | Mapping[str, Any] = "vit",
        ids: str = "content",
        augmentation: str | Mapping[str, Any] = "affine",
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__(model, ids, augmentation, label_smoothing)

    def data(self) -> Data:
        return self._data

    @cached_property
    def _data(self) -> Data:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        pixels, labels = load_digits(return_X_y=True)
        x = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8)
        y = torch.tensor(labels)
        digest = hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest()
        every = torch.arange(len(y)).numpy()
        rest, test = train_test_split(every, test_size=360, stratify=labels, random_state=0)
        train, val = train_test_split(rest, test_size=180, stratify=labels[rest], random_state=0)
        splits = [{"x": x[i], "y": y[i]} for i in (train, val, test)]
        return Data("digits", digest, splits[0], splits[1], splits[2])
