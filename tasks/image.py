"""A user's own images, or CIFAR-10 and its like, to be told apart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import OptionError, unknown

from ._task import TASKS, Backbone, Batch, Data, Labeling, Layer, MetricSpec, Score, Task
from .backbones.blocks import check_blocks
from .backbones.image_ops import content_ids, random_crop, random_flip, square_tiles
from .backbones.resnet import ResNet
from .backbones.vit import ViT
from .readers import DataError, Images, ImageSource, Splits, read_images, source_of

#: Shortest side of an image, in pixels.
LEAST = 8


@TASKS.register("image")
class Image(Task):
    """Your own images in classes: folders, Parquet as on the hub, IDX pairs or NumPy ``.npz``.

    All images have one size, of at least 8 pixels a side, and are all gray or all in colour. They
    are kept as bytes; a batch is scaled to mean 0 and deviation 1, as measured over the training
    split for each channel.

    Args:
        data: where the images are: ``path`` of a file or folder, or ``hub`` name; ``val`` and
            ``test``, the fractions to hold out where the data has no such split; ``image`` and
            ``label`` columns; ``channels`` to convert to.
        model: ``vit`` (routes patches) or ``conv`` (a residual network; routes whole images).
        dim: width of the model; of ``conv`` the last stage.
        depth: number of blocks; of ``conv`` those after the last stage.
        heads: attention heads of the ViT.
        patch: side of the ViT's patches, in pixels.
        routed: which blocks are routed, from 0; None for all. The others are dense.
        ids: what hash routing looks up: quantised ``content``, or ``position`` of a patch.
        flip: chance that a training image is mirrored left for right; 0 where left is not right.
        crop: most that a training image is moved, as a fraction of its sides; 0 for none.
        label_smoothing: of the cross-entropy.

    >>> Image(data={"path": "photos"}, flip=0.0).patch
    4
    """

    score = Score("accuracy", "maximize")
    has_ids = True

    def __init__(
        self,
        *,
        data: Mapping[str, Any] = {},
        model: str = "vit",
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        patch: int = 4,
        routed: Sequence[int] | None = None,
        ids: str = "content",
        flip: float = 0.5,
        crop: float = 0.125,
        label_smoothing: float = 0.1,
    ) -> None:
        if model not in _MODELS:
            raise unknown("task.model", model, _MODELS)
        if ids not in _MODELS[model].ids:
            raise unknown("task.ids", ids, _MODELS[model].ids)
        check_blocks(dim, depth, heads, routed)
        if patch < 1:
            raise OptionError("task.patch", patch, "an integer of at least 1")
        if not 0 <= flip <= 1:
            raise OptionError("task.flip", flip, "a number from 0 to 1")
        if not 0 <= crop < 1:
            raise OptionError("task.crop", crop, "a number from 0 to below 1")
        if not 0 <= label_smoothing < 1:
            raise OptionError("task.label_smoothing", label_smoothing, "a number from 0 to below 1")
        self.source = source_of(ImageSource, data)
        self.model = _MODELS[model]
        self.ids = self.model.ids[ids]
        self.dim = dim
        self.depth = depth
        self.heads = heads
        self.patch = patch
        self.routed = routed
        self.flip = flip
        self.crop = crop
        self.label_smoothing = label_smoothing

    @cached_property
    def images(self) -> Splits[Images]:
        """What was read."""
        images = read_images(self.source)
        height, width = images.train.x.shape[2:]
        if min(height, width) < LEAST:
            raise DataError(
                f"{self.source.title}: images of {height}x{width} pixels are too small for this "
                f"task; give images of at least {LEAST}x{LEAST}"
            )
        return images

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel in the training split, ``(C, 1, 1)``."""
        return mean_and_deviation(self.images.train.x)

    def data(self) -> Data:
        found = self.images
        splits = [{"x": part.x, "y": part.y} for part in (found.train, found.val, found.test)]
        return Data(found.name, found.sha256, splits[0], splits[1], splits[2], found.split_sha256)

    def backbone(self, layer: Layer) -> Backbone:
        return self.model.build(self, layer)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output, batch["y"], label_smoothing=self.label_smoothing)

    def measures(self) -> dict[str, MetricSpec]:
        from torchmetrics.classification import MulticlassAccuracy

        from .metrics.recall_by_class import RecallByClass

        classes = self.images.train.classes
        return {
            "accuracy": MetricSpec(MulticlassAccuracy(num_classes=len(classes), average="micro")),
            "recall": MetricSpec(RecallByClass(classes)),
        }

    def kinds(self) -> tuple[Labeling, ...]:
        return (Labeling("class", self.images.train.classes, itemgetter("y")),)

    def augment(self, batch: Batch) -> Batch:
        height, width = batch["x"].shape[2:]
        reach = (round(self.crop * height), round(self.crop * width))
        return {**batch, "x": random_crop(random_flip(batch["x"], self.flip), reach)}

    def collate(self, batch: Batch) -> Batch:
        mean, deviation = (each.to(batch["x"].device) for each in self.scale)
        x = (batch["x"].float() / 255 - mean) / deviation
        return {**batch, "x": x.to(torch.get_default_dtype())}  # the model's, whatever it is

    def describe(self, batch: Batch) -> Batch:
        return {**batch, "ids": self.ids(self._tiles(batch))}

    def features(self, batch: Batch) -> Tensor:
        tiles = self._tiles(batch)
        side = self.model.detail
        small = F.adaptive_avg_pool2d(tiles.flatten(0, -4), side)
        return small.reshape(*tiles.shape[:-3], -1)

    def _tiles(self, batch: Batch) -> Tensor:
        """What is routed, as pixels from 0 to 1, ``(B, …, C, H, W)``."""
        mean, deviation = (each.to(batch["x"].device) for each in self.scale)
        return self.model.tiles(self, batch["x"].float() * deviation + mean)


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel of images ``(N, C, H, W)`` uint8, as if from 0 to 1; ``(C, 1, 1)`` each.

    Sums are exact: of integers, some images at a time. A channel that never varies has the
    deviation of one step of brightness.

    >>> mean, deviation = mean_and_deviation(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    >>> mean.item(), deviation.item()
    (0.5, 0.5)
    """
    sums = torch.stack([_moments(part) for part in torch.split(x, 1024)]).sum(0).double()
    mean, square = sums / (x.numel() / x.shape[1])
    deviation = (square - mean.square()).clamp_min(0.0).sqrt().clamp_min(1.0)
    return (mean / 255).float().view(-1, 1, 1), (deviation / 255).float().view(-1, 1, 1)


def _moments(part: Tensor) -> Tensor:
    """Sum and sum of squares of each channel's pixels, ``(2, C)`` int64."""
    pixels = part.transpose(0, 1).flatten(1).long()
    return torch.stack([pixels.sum(1), pixels.square().sum(1)])


def _content(tiles: Tensor) -> Tensor:
    """Of each tile ``(..., C, H, W)``."""
    return content_ids(tiles.mean(-3), levels=4)


def _position(tiles: Tensor) -> Tensor:
    return torch.arange(tiles.shape[1], device=tiles.device).expand(tiles.shape[:2])


def _vit(task: Image, layer: Layer) -> Backbone:
    images = task.images.train
    channels, height, width = images.x.shape[1:]
    if task.patch > min(height, width):
        most = min(height, width)
        raise OptionError("task.patch", task.patch, f"at most {most}: images are {height}x{width}")
    return ViT(
        layer,
        cut=partial(_patches, size=task.patch),
        patch_dim=channels * task.patch**2,
        length=-(-height // task.patch) * -(-width // task.patch),
        dim=task.dim,
        depth=task.depth,
        heads=task.heads,
        classes=len(images.classes),
        routed=task.routed,
    )


def _conv(task: Image, layer: Layer) -> Backbone:
    images = task.images.train
    channels, height, width = images.x.shape[1:]
    return ResNet(
        layer,
        channels=channels,
        size=(height, width),
        dim=task.dim,
        depth=task.depth,
        classes=len(images.classes),
        routed=task.routed,
    )


def _patches(x: Tensor, size: int) -> Tensor:
    return square_tiles(x, size).flatten(2)


def _patch_tiles(task: Image, x: Tensor) -> Tensor:
    return square_tiles(x, task.patch)


def _whole_image(task: Image, x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class _Model:
    """A backbone, and what of an image it routes.

    Attributes:
        build: the backbone.
        tiles: what is routed, ``(B, C, H, W)`` to ``(B, …, C, H, W)``.
        ids: how hash routing may name that.
        detail: side of the small picture that describes it to routers.
    """

    build: Callable[[Image, Layer], Backbone]
    tiles: Callable[[Image, Tensor], Tensor]
    ids: Mapping[str, Callable[[Tensor], Tensor]]
    detail: int


_MODELS = {
    "vit": _Model(_vit, _patch_tiles, {"content": _content, "position": _position}, 2),
    "conv": _Model(_conv, _whole_image, {"content": _content}, 4),
}
