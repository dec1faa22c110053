"""Small random rotations, scalings and shifts."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import OptionError

from ._base import AUGMENTATIONS, Augmentation


@AUGMENTATIONS.register("affine")
class Affine(Augmentation):
    """Rotates, scales and shifts each image a little.

    Args:
        strength: 1 for up to 10 degrees, 10% of size and 6% of the width; 0 for none.
    """

    def __init__(self, *, strength: float = 1.0) -> None:
        if not 0 <= strength < math.inf:
            raise OptionError("strength", strength, "a finite number >= 0")
        self.strength = strength

    def __call__(self, x: Tensor) -> Tensor:
        if not self.strength:
            return x
        draw = (torch.rand(4, len(x), device=x.device) * 2 - 1) * self.strength
        angle, scale, shift = draw[0] * 0.17, 1 + draw[1] * 0.1, draw[2:] * 0.12
        cos, sin = angle.cos() * scale, angle.sin() * scale
        matrix = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]], 1).view(-1, 2, 3)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)
