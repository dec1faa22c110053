"""Classes of images: everything but where the images come from."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from routers.plugins import unknown

from .._task import (
    Backbone,
    Baseline,
    Batch,
    Data,
    Labeling,
    Layer,
    MetricSpec,
    Samples,
    Score,
    Task,
    backbone_class,
    check_rates,
    choose_backbone,
    class_columns,
    complete_part,
)
from ..augmentations import AUGMENTATIONS
from ..backbones import BACKBONES, content_ids, patch_boxes, patches
from ..baselines.pixels import linear_on_pixels
from ..pictures import ImagePicture, Picture


class ImageTask(Task):
    """Predicts the class of an image; each task documents the options."""

    score = Score("accuracy", "maximize")
    has_ids = True

    def __init__(
        self,
        model: str | Mapping[str, Any],
        ids: str,
        augmentation: str | Mapping[str, Any],
        label_smoothing: float,
    ) -> None:
        self.model, self.options = choose_backbone(type(self), "images", model)
        self.routes_patches = backbone_class(self.model).routes_tokens
        self.ids_of = {"content": _content}
        if self.routes_patches:
            self.ids_of["position"] = _position
        if ids not in self.ids_of:
            raise unknown("ids", ids, self.ids_of)
        check_rates(label_smoothing=label_smoothing)
        self.ids = ids
        name, options = complete_part(type(self), "augmentation", AUGMENTATIONS, augmentation)
        self.augmentation = AUGMENTATIONS.build(name, **options)
        self.label_smoothing = label_smoothing

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    @cached_property
    def samples(self) -> Samples:
        """Shape, classes and training split of the images."""
        train = self.data().train
        return Samples("images", tuple(train["x"].shape[1:]), len(self.classes), train)

    def backbone(self, layer: Layer) -> Backbone:
        return BACKBONES.build(self.model, layer, self.samples, **self.options)

    def baseline(self, data: Data) -> Baseline:
        return linear_on_pixels(self, data)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output, batch["y"], label_smoothing=self.label_smoothing)

    def measures(self) -> dict[str, MetricSpec]:
        from torchmetrics.classification import MulticlassAccuracy

        number = len(self.classes)
        return {"accuracy": MetricSpec(MulticlassAccuracy(num_classes=number, average="micro"))}

    def predictions(self, output: Tensor, batch: Batch) -> dict[str, list[Any]]:
        return class_columns("class", self.classes, output.double().softmax(1))

    def kinds(self) -> tuple[Labeling, ...]:
        return (Labeling("class", self.classes, itemgetter("y")),)

    def content(self, batch: Batch) -> Mapping[str, Tensor]:
        """The number of each patch, row by row, if patches are routed."""
        return {"patch": _position(self.tiles(batch))} if self.routes_patches else {}

    def pictures(self, batch: Batch) -> Sequence[Picture]:
        """Images, or their patches, in their colours; none if what is routed is not known."""
        if not backbone_class(self.model).sample_axes:
            return ()
        pixels = self.pixels(batch)
        boxes = []
        if self.routes_patches:
            height, width = pixels.shape[2:]
            patch, overlap = self.options["patch"], self.options.get("overlap", 0)
            boxes = patch_boxes(height, width, patch, overlap)
        return [ImagePicture(image, boxes) for image in pixels]

    def augment(self, batch: Batch) -> Batch:
        return {**batch, "x": self.augmentation(batch["x"])}

    def describe(self, batch: Batch) -> Batch:
        return {**batch, "ids": self.ids_of[self.ids](self.tiles(batch))}

    def features(self, batch: Batch) -> Tensor:
        return self.tiles(batch).flatten(-3)

    def pixels(self, batch: Batch) -> Tensor:
        """The images of a batch with values in [0, 1], ``(B, C, H, W)``."""
        return batch["x"]

    def tiles(self, batch: Batch) -> Tensor:
        """The images or patches that are routed, ``(B, …, C, H, W)`` with values in [0, 1]."""
        x = self.pixels(batch)
        if not self.routes_patches:
            return x
        return patches(x, self.options["patch"], self.options.get("overlap", 0))


def _content(tiles: Tensor) -> Tensor:
    """Ids of tiles ``(..., C, H, W)``."""
    return content_ids(tiles.mean(-3), levels=4)


def _position(tiles: Tensor) -> Tensor:
    return torch.arange(tiles.shape[1], device=tiles.device).expand(tiles.shape[:2])
