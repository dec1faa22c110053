"""Handwritten digits: 1,797 real 8x8 images that ship with scikit-learn."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import OptionError, unknown

from ._task import TASKS, Backbone, Batch, Data, Labeling, Layer, MetricSpec, Score, Task
from .backbones.convnet import ConvNet
from .backbones.image_ops import content_ids, patches, random_affine
from .backbones.vit import ViT


@TASKS.register("digits")
class Digits(Task):
    """Ten classes, 8x8 pixels; 1,257 images to train on, 180 to validate, 360 to test.

    The splits are stratified and the same for every seed. Source: Alpaydin and Kaynak 1998,
    UCI Optical Recognition of Handwritten Digits (test part), as in scikit-learn.

    Args:
        model: ``vit`` (routes patches) or ``conv`` (routes whole images).
        dim: width of the model.
        depth: number of blocks, each with one routed layer.
        heads: attention heads of the ViT.
        ids: what hash routing looks up: quantised ``content``, or ``position`` of a patch.
        augment: strength of random rotation, scaling and shift in training; 0 for none.
        label_smoothing: of the cross-entropy.

    >>> len(Digits().data().train["y"])
    1257
    """

    score = Score("accuracy", "maximize")
    has_ids = True

    def __init__(
        self,
        *,
        model: str = "vit",
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        ids: str = "content",
        augment: float = 1.0,
        label_smoothing: float = 0.1,
    ) -> None:
        if model not in _MODELS:
            raise unknown("task.model", model, _MODELS)
        if ids not in _MODELS[model].ids:
            raise unknown("task.ids", ids, _MODELS[model].ids)
        if heads < 1:
            raise OptionError("task.heads", heads, "an integer of at least 1")
        if dim < 1 or dim % heads:
            raise OptionError("task.dim", dim, f"a positive multiple of task.heads={heads}")
        if depth < 1:
            raise OptionError("task.depth", depth, "an integer of at least 1")
        if not 0 <= augment < math.inf:
            raise OptionError("task.augment", augment, "a finite number of at least 0")
        if not 0 <= label_smoothing < 1:
            raise OptionError("task.label_smoothing", label_smoothing, "a number from 0 to below 1")
        self.model = _MODELS[model]
        self.ids = self.model.ids[ids]
        self.dim = dim
        self.depth = depth
        self.heads = heads
        self.strength = augment
        self.label_smoothing = label_smoothing

    def data(self) -> Data:
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

    def backbone(self, layer: Layer) -> Backbone:
        return self.model.build(layer, self.dim, self.depth, self.heads)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output, batch["y"], label_smoothing=self.label_smoothing)

    def measures(self) -> dict[str, MetricSpec]:
        from torchmetrics.classification import MulticlassAccuracy

        return {"accuracy": MetricSpec(MulticlassAccuracy(num_classes=10, average="micro"))}

    def kinds(self) -> tuple[Labeling, ...]:
        return (Labeling("class", tuple("0123456789"), itemgetter("y")),)

    def augment(self, batch: Batch) -> Batch:
        if not self.strength:
            return batch
        return {**batch, "x": random_affine(batch["x"], self.strength)}

    def describe(self, batch: Batch) -> Batch:
        return {**batch, "ids": self.ids(self.model.tiles(batch["x"]))}

    def features(self, batch: Batch) -> Tensor:
        return self.model.tiles(batch["x"]).flatten(-2)


def _content(tiles: Tensor) -> Tensor:
    return content_ids(tiles, levels=4)


def _position(tiles: Tensor) -> Tensor:
    return torch.arange(tiles.shape[1], device=tiles.device).expand(tiles.shape[:2])


def _patches(x: Tensor) -> Tensor:
    """Overlapping 4x4 patches, ``(B, 1, 8, 8)`` to ``(B, 16, 16)``."""
    return patches(x, size=4, stride=2, padding=1)


def _patch_tiles(x: Tensor) -> Tensor:
    return _patches(x).view(-1, 16, 4, 4)


def _whole_image(x: Tensor) -> Tensor:
    return x.squeeze(1)


def _vit(layer: Layer, dim: int, depth: int, heads: int) -> Backbone:
    return ViT(
        layer,
        cut=_patches,
        patch_dim=16,
        length=16,
        dim=dim,
        depth=depth,
        heads=heads,
        classes=10,
    )


def _conv(layer: Layer, dim: int, depth: int, heads: int) -> Backbone:
    return ConvNet(layer, channels=1, size=8, dim=dim, depth=depth, classes=10)


@dataclass(frozen=True)
class _Model:
    """A backbone, what of an image it routes, and how hash routing may name that."""

    build: Callable[[Layer, int, int, int], Backbone]
    tiles: Callable[[Tensor], Tensor]
    ids: Mapping[str, Callable[[Tensor], Tensor]]


_MODELS = {
    "vit": _Model(_vit, _patch_tiles, {"content": _content, "position": _position}),
    "conv": _Model(_conv, _whole_image, {"content": _content}),
}
