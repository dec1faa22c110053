"""Classification of a user's own images, or of sets such as CIFAR-10."""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ._task import TASKS, Batch, Data, MetricSpec, backbone_class, fitting_model
from .bases.images import ImageTask
from .loading.on_demand import read_batches
from .readers import DataError, DataSet, Images, Splits, choose_data, read_as

#: Shortest side of an image, in pixels.
MIN_SIDE = 8

#: Widths of a residual network, the widest first, and the training images from which on each is
#: tried.
WIDTHS = {128: 20_000, 96: 20_000, 64: 2_000, 48: 2_000, 32: 0}

#: FLOPs of a training step for each pixel of an image and each pair of channels, about.
FLOPS = 30

#: Epochs that a network should have: one with less time for each is made narrower.
EPOCHS = 8

#: Most pixels in a batch, for the memory that they take.
MAX_PIXELS = 2**21

#: Most values of images that are summed at a time, for the memory that their squares take.
MAX_SUMMED = 2**22


@TASKS.register("image")
class Image(ImageTask):
    """Your own images in classes: folders, Parquet as on the hub, IDX pairs or NumPy ``.npz``.

    All images have one size, of at least 8 pixels a side (``data.size`` scales them), and are all
    gray or all in colour. They are kept as bytes; a batch is scaled to mean 0 and deviation 1, as
    measured over the training split for each channel.

    Args:
        data: where the images are: ``path`` of files or folders, or ``hub`` name; ``val`` and
            ``test``, the fractions to hold out where the data has no such split; ``image`` and
            ``label`` columns; ``channels`` and ``size`` to convert to; or ``name`` of a data set
            of ``DATA``, and its options.
        model, ids, augmentation, label_smoothing: as in ``digits``.

    >>> Image(data={"path": "photos"}, model={"patch": 8}).options["patch"]
    8
    """

    part_defaults: ClassVar = {"model": {"dim": 128, "depth": 4}}
    auto = ("model", "augmentation")
    speed = 33e9  # convolutions with few channels are far from the peak

    def __init__(
        self,
        *,
        data: Mapping[str, Any] | DataSet[Images] = {},
        model: str | Mapping[str, Any] = "vit",
        ids: str = "content",
        augmentation: str | Mapping[str, Any] = "flip_crop",
        label_smoothing: float = 0.1,
    ) -> None:
        super().__init__(model, ids, augmentation, label_smoothing)
        self.source = choose_data("images", data)

    @cached_property
    def images(self) -> Splits[Images]:
        """The images, read once."""
        images = read_as(Images, self.source)
        height, width = images.train.x.shape[2:]
        if min(height, width) < MIN_SIDE:
            raise DataError(
                f"{images.name}: images of {height}x{width} pixels are too small for this "
                f"task; give images of at least {MIN_SIDE}x{MIN_SIDE}"
            )
        return images

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel in the training split, ``(C, 1, 1)``."""
        return mean_and_deviation(self.images.train.x)

    def same_data(self) -> Mapping[str, Any]:
        return {"data": self.source}

    def recipe(self, seconds: float, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """A residual network with convolutional experts, as wide as there is time for.

        Images are shifted and never mirrored: left may differ from right.
        """
        rows, pixels = len(self.images.train.x), math.prod(self.images.train.x.shape[2:])
        model = fitting_model(given, "resnet", "vit")
        most = 128 if rows >= 4000 else 32
        batch = min(max(4, min(most, rows // 8, MAX_PIXELS // pixels)), rows)
        batch = given.get("trainer.batch_size", batch)
        common = {
            "task.augmentation": {"name": "flip_crop"},
            "trainer.batch_size": batch,
            "trainer.max_epochs": 30,
        }
        if model != "resnet":
            return common | {
                "task.model": {"name": model},
                "expert": {"name": backbone_class(model).expert},
                "moe.num_experts": 8,
                "optimizer.name": "adamw",
                "optimizer.lr": 0.001,
                "optimizer.weight_decay": 0.05,
                "optimizer.warmup": 0.1,
            }
        cost = FLOPS * pixels * rows * EPOCHS / self.speed
        tried = [dim for dim, least in WIDTHS.items() if rows >= least]
        dim = next((dim for dim in tried if cost * dim**2 <= seconds), tried[-1])
        return common | {
            "task.model": {"name": "resnet", "dim": dim, "depth": 1 if dim == 32 else 2},
            "expert": {"name": "conv", "hidden": dim},
            "moe.num_experts": 4,
            "optimizer.name": "sgd",
            "optimizer.lr": round(0.1 * batch / 128, 4),
            "optimizer.weight_decay": 0.0005,
            "optimizer.warmup": 0.2,
        }

    def data(self) -> Data:
        return self.images.data(_batch)

    def other_data(self, source: Mapping[str, Any], labelled: bool) -> Data:
        other = choose_data("images", source)
        return other.read_other(self.source, self.images, labelled).data(_batch)

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


def _batch(images: Images) -> Batch:
    return {"x": images.x, "y": images.y}


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of each channel of images ``(N, C, H, W)`` uint8, as if from 0 to 1; ``(C, 1, 1)`` each.

    Sums are exact: of integers, some images at a time. A channel that never varies has the
    deviation of one step of brightness.

    >>> mean, deviation = mean_and_deviation(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    >>> mean.item(), deviation.item()
    (0.5, 0.5)
    """
    rows = max(1, min(1024, MAX_SUMMED // math.prod(x.shape[1:])))
    chunks = (slice(start, start + rows) for start in range(0, len(x), rows))
    parts = (each["x"].transpose(0, 1).flatten(1).long() for each in read_batches({"x": x}, chunks))
    moments = torch.stack([torch.stack([p.sum(1), p.square().sum(1)]) for p in parts])
    mean, square = moments.sum(0).double() / (math.prod(x.shape) / x.shape[1])
    deviation = (square - mean.square()).clamp_min(0.0).sqrt().clamp_min(1.0)
    return (mean / 255).float().view(-1, 1, 1), (deviation / 255).float().view(-1, 1, 1)
