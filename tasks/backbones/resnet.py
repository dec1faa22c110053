"""A residual convolutional network whose last blocks send whole images to experts."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import Routing

from .._task import BACKBONES, Backbone, Batch, Layer, Samples
from ._blocks import check_blocks, known, residual

#: Images are halved until no side is longer; on such the routed blocks work.
INNER = 8


@BACKBONES.register("resnet")
class ResNet(Backbone):
    """Stages that halve the image to 8 pixels a side, routed blocks, mean pooling, a linear head.

    A stage is a convolution and a residual block of two, with batch norm and ReLU. A routed
    block is a batch norm and a residual routed layer; its router sees an image's
    channels averaged over space, so each image takes its own path.

    Source: He et al. 2015, 1512.03385; the order of norm and identity is that of 1603.05027.

    Args:
        dim: ``D``; before the last halving half of it, before that a quarter.
        depth: number of blocks after the stages.
        routed: indices of the routed blocks, from 0; None for all. The others are dense.
    """

    reads = "images"
    sample_axes = ("D", "H", "W")
    expert = "conv"

    def __init__(
        self,
        layer: Layer,
        samples: Samples,
        *,
        dim: int = 128,
        depth: int = 4,
        routed: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_blocks(dim, depth, 1, routed)
        channels, *size = samples.shape
        halvings = next(number for number in count() if max(size) >> number <= INNER)
        widths = [max(dim >> min(left, 2), 1) for left in range(halvings, -1, -1)]
        shape = (dim, *(max(side >> halvings, 1) for side in size))
        self.stem = convolution(channels, widths[0])
        self.stages = nn.ModuleList(map(Stage, widths, widths[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(dim) for _ in range(depth))
        chosen = range(depth) if routed is None else routed
        self.layers = nn.ModuleList(
            layer(shape) if block in chosen else ConvolutionPair(dim) for block in range(depth)
        )
        self.norm = nn.BatchNorm2d(dim)
        self.head = nn.Linear(dim, samples.outputs)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """``batch["x"]`` ``(B, channels, H, W)`` to logits ``(B, classes)``."""
        # channels last: convolutions are twice as fast on a CPU in bfloat16, a little in float32
        x = self.stem(batch["x"].contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            x = stage(x)
        x, routings = residual(x, self.layers, self.norms, **known(batch))
        return self.head(F.relu(self.norm(x)).mean((2, 3))), routings


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution, batch norm and ReLU; height and width stay."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    norm = nn.BatchNorm2d(outputs)
    return nn.Sequential(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU()))


class ConvolutionPair(nn.Module):
    """Two convolutions: the dense layer of a block that is not routed."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = convolution(dim, dim)
        self.second = convolution(dim, dim)

    def forward(self, x: Tensor, **about: Any) -> tuple[Tensor, None]:
        """``(B, D, H, W)`` to the same shape; nothing is routed, so the rest is not read."""
        return self.second(self.first(x)), None


class Stage(nn.Module):
    """Half the height and width, other channels, and a residual block of them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = convolution(inputs, outputs)
        self.inner = ConvolutionPair(outputs)

    def forward(self, x: Tensor) -> Tensor:
        window = [min(side, 2) for side in x.shape[2:]]  # a side of 1 stays
        x = self.enter(F.max_pool2d(x, window))
        update, _ = self.inner(x)
        return x + update
