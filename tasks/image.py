"""Classification of a user's own images, or of sets such as CIFAR-10."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ._task import TASKS, Batch, Data, MetricSpec
from .bases.images import ImageTask
from .readers import (
    DataError,
    Images,
    ImageSource,
    Splits,
    read_images,
    read_other_images,
    source_of,
)

#: Shortest side of an image, in pixels.
MIN_SIDE = 8


@TASKS.register("image")
class Image(ImageTask):
    """Your own images in classes: folders, Parquet as on the hub, IDX pairs or NumPy ``.npz``.

    All images have one size, of at least 8 pixels a side, and are all gray or all in colour. They
    are kept as bytes; a batch is scaled to mean 0 and deviation 1, as measured over the training
    split for each channel.

    Args:
        data: where the images are: ``path`` of a file or folder, or ``hub`` name; ``val`` and
            ``test``, the fractions to hold out where the data has no such split; ``image`` and
            ``label`` columns; ``channels`` to convert to.
        model, ids, augmentation, label_smoothing: as in ``digits``.

    >>> Image(data={"path": "photos"}, model={"patch": 8}).options["patch"]
    8
    """

    part_defaults: ClassVar = {"model": {"dim": 128, "depth": 4}}

    def __init__(
        self,
        *,
        data: Mapping[str, Any] = {},
        model: str | Mapping[str, Any] = "vit",
        ids: str = "content",
        augmentation: str | Mapping[str, Any] = "flip_crop",
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__(model, ids, augmentation, label_smoothing)
        self.source = source_of(ImageSource, data)

    @cached_property
    def images(self) -> Splits[Images]:
        """The images, read once."""
        images = read_images(self.source)
        height, width = images.train.x.shape[2:]
        if min(height, width) < MIN_SIDE:
            raise DataError(
                f"{self.source.title}: images of {height}x{width} pixels are too small for this "
                f"task; give images of at least {MIN_SIDE}x{MIN_SIDE}"
            )
        return images

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel in the training split, ``(C, 1, 1)``."""
        return mean_and_deviation(self.images.train.x)

    def data(self) -> Data:
        return _data(self.images)

    def other_data(self, source: Mapping[str, Any], labelled: bool) -> Data:
        return _data(read_other_images(source_of(ImageSource, source), self.images, labelled))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.images.train.classes

    def measures(self) -> dict[str, MetricSpec]:
        from .metrics.recall_by_class import RecallByClass

        return super().measures() | {"recall": MetricSpec(RecallByClass(self.classes))}

    def collate(self, batch: Batch) -> Batch:
        mean, deviation = (each.to(batch["x"].device) for each in self.scale)
        x = (batch["x"].float() / 255 - mean) / deviation
        return {**batch, "x": x.to(torch.get_default_dtype())}  # the model's, whatever it is

    def features(self, batch: Batch) -> Tensor:
        """Tiles scaled down, ``(B, …, C * side * side)``: patches to 2x2 pixels, images to 4x4."""
        tiles = self.tiles(batch)
        side = 2 if self.routes_patches else 4
        small = F.adaptive_avg_pool2d(tiles.flatten(0, -4), side)
        return small.reshape(*tiles.shape[:-3], -1)

    def pixels(self, batch: Batch) -> Tensor:
        mean, deviation = (each.to(batch["x"].device) for each in self.scale)
        return batch["x"].float() * deviation + mean


def _data(found: Splits[Images]) -> Data:
    parts = (found.train, found.val, found.test)
    train, val, test = ({"x": part.x, "y": part.y} for part in parts)
    return Data(found.name, found.sha256, train, val, test, found.split_sha256, found.made)


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel of images ``(N, C, H, W)`` uint8, as if from 0 to 1; ``(C, 1, 1)`` each.

    Sums are exact: of integers, some images at a time. A channel that never varies has the
    deviation of one step of brightness.

    >>> mean, deviation = mean_and_deviation(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    >>> mean.item(), deviation.item()
    (0.5, 0.5)
    """
    parts = (part.transpose(0, 1).flatten(1).long() for part in torch.split(x, 1024))
    moments = torch.stack([torch.stack([p.sum(1), p.square().sum(1)]) for p in parts])
    mean, square = moments.sum(0).double() / (x.numel() / x.shape[1])
    deviation = (square - mean.square()).clamp_min(0.0).sqrt().clamp_min(1.0)
    return (mean / 255).float().view(-1, 1, 1), (deviation / 255).float().view(-1, 1, 1)
