"""Two overlaid digits: which is left, which is right, their sum and its parity."""

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import OptionError

from ._task import TASKS, Batch, Data, complete_part
from .augmentations import AUGMENTATIONS
from .backbones import content_ids
from .bases.multi_target import MultiTask
from .digits import Digits
from .multi_target.targets import Target

#: Pairs to train on, to validate and to test.
PAIRS = (20_000, 2_000, 4_000)


@TASKS.register("two_digits")
class TwoDigits(MultiTask):
    """Four targets of two 8x8 digits that cover each other in part: left, right, sum, parity.

    The digits are split as ``task=digits`` splits them, before they are paired: no image of a
    test pair is in a training pair. Pairs are drawn once, the same for every seed; in training
    each digit is rotated and shifted at random. Pixels are the brighter of the two.

    Source: the idea is MultiMNIST, Sabour et al. 2017, 1710.09829, section 6.

    Args:
        dim, depth, sharing, tower, dropout, weighting, weights: as in ``multitask``; there are no
            views to share, and the convolutions have half of ``dim``.
        overlap: columns of pixels that both digits cover, of 8.
        augmentation: random variant of training images, a name or ``{name: affine, …}``.

    >>> task = TwoDigits()
    >>> test = task.data().test
    >>> test["y"][0].tolist(), tuple(task.collate(test)["x"].shape)
    ([3.0, 0.0, 3.0, 1.0], (4000, 1, 8, 10))
    """

    targets = (
        Target("left", "classes", Digits.classes),
        Target("right", "classes", Digits.classes),
        Target("sum", "classes", tuple(map(str, range(19)))),
        Target("parity", "binary", ("even", "odd")),
    )
    outputs = tuple(target.name for target in targets)
    part_defaults: ClassVar = {"augmentation": {"strength": 0.5}}

    def __init__(
        self,
        *,
        dim: int = 64,
        depth: int = 1,
        sharing: str | Mapping[str, Any] = "mmoe",
        tower: int = 64,
        dropout: float = 0.1,
        weighting: str | Mapping[str, Any] = "fixed",
        weights: dict[str, float] = {},
        overlap: int = 6,
        augmentation: str | Mapping[str, Any] = "affine",
    ) -> None:
        super().__init__(dim, depth, sharing, tower, dropout, weighting, weights)
        if not 0 <= overlap <= 8:
            raise OptionError("overlap", overlap, "an integer in [0, 8]")
        self.overlap = overlap
        name, options = complete_part(type(self), "augmentation", AUGMENTATIONS, augmentation)
        self.augmentation = AUGMENTATIONS.build(name, **options)

    def data(self) -> Data:
        base = Digits().data()
        generator = torch.Generator().manual_seed(0)
        bases = (base.train, base.val, base.test)
        train, val, test = (
            _pairs(of, number, generator) for of, number in zip(bases, PAIRS, strict=True)
        )
        digest = hashlib.sha256(base.sha256.encode())
        for split in (train, val, test):
            digest.update(split["x"].numpy().tobytes())
        return Data("two_digits", digest.hexdigest(), train, val, test)

    def encoder(self) -> nn.Module:
        return PairEncoder(self.dim, columns=16 - self.overlap)

    def augment(self, batch: Batch) -> Batch:
        digits = batch["x"].flatten(0, 1).unsqueeze(1)
        moved = self.augmentation(digits)
        return {**batch, "x": moved.view_as(batch["x"])}

    def collate(self, batch: Batch) -> Batch:
        return {**batch, "x": overlay(batch["x"], self.overlap).unsqueeze(1)}

    def describe(self, batch: Batch) -> Batch:
        return {**batch, "ids": content_ids(batch["x"].squeeze(1), levels=4)}

    def features(self, batch: Batch) -> Tensor:
        return batch["x"].flatten(1)


def _pairs(split: Batch, number: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Pairs of digits ``x`` ``(N, 2, 8, 8)`` and their targets, ``y`` ``(N, 4)``."""
    which = torch.randint(len(split["y"]), (number, 2), generator=generator)
    digits = split["y"][which]
    total = digits.sum(1)
    y = torch.stack([digits[:, 0], digits[:, 1], total, total % 2], 1)
    return {"x": split["x"].squeeze(1)[which], "y": y.float()}


def overlay(pairs: Tensor, overlap: int) -> Tensor:
    """The brighter of two images ``(B, 2, H, W)`` that share ``overlap`` columns, from 0 to W.

    >>> overlay(torch.tensor([[[[1.0, 2.0]], [[3.0, 1.0]]]]), overlap=1).tolist()
    [[[1.0, 3.0, 1.0]]]
    """
    rest = pairs.shape[-1] - overlap
    left, right = F.pad(pairs[:, 0], (0, rest)), F.pad(pairs[:, 1], (rest, 0))
    return torch.maximum(left, right)


class PairEncoder(nn.Module):
    """Two convolutions and a linear layer: ``(B, 1, 8, columns)`` to ``(B, dim)``."""

    def __init__(self, dim: int, columns: int) -> None:
        super().__init__()
        channels = max(dim // 2, 1)
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),
            nn.GroupNorm(1, channels),
            nn.Conv2d(channels, dim, 3, padding=1),
            nn.GELU(),
            nn.GroupNorm(1, dim),
            nn.Flatten(),
            nn.Linear(dim * 4 * (columns // 2), dim),
        )

    def forward(self, batch: Batch) -> Tensor:
        """The representation of ``batch["x"]``."""
        x: Tensor = self.layers(batch["x"])
        return x
