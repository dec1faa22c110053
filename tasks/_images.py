"""Small operations on batches of images, in torch alone."""

import torch
from torch import Tensor
from torch.nn import functional as F


def random_affine(x: Tensor, strength: float) -> Tensor:
    """Each image turned, scaled and shifted a little, at random.

    Args:
        x: ``(B, C, H, W)``.
        strength: 1 for up to 10 degrees, 10% of size and 6% of the width.
    """
    draw = (torch.rand(4, len(x), device=x.device) * 2 - 1) * strength
    angle, scale, shift = draw[0] * 0.17, 1 + draw[1] * 0.1, draw[2:] * 0.12
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def patches(x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """Square patches of images, ``(B, C, H, W)`` to ``(B, L, C * size * size)``.

    >>> patches(torch.zeros(2, 1, 8, 8), 4, 2, 1).shape
    torch.Size([2, 16, 16])
    """
    return F.unfold(x, size, stride=stride, padding=padding).transpose(1, 2)


def content_ids(tiles: Tensor, levels: int) -> Tensor:
    """A number that tells tiles apart by the brightness of their quarters.

    Each quarter's mean, in 0 … 1, is rounded down to one of ``levels``; the four make one
    number below ``levels ** 4``.

    Args:
        tiles: ``(..., H, W)``.
        levels: steps of brightness.

    >>> content_ids(torch.tensor([[[0.0, 0.0], [0.0, 0.9]]]), 4).tolist()
    [3]
    """
    flat = tiles.reshape(-1, 1, *tiles.shape[-2:])
    quarters = F.adaptive_avg_pool2d(flat, 2).flatten(1)
    steps = (quarters * levels).long().clamp(0, levels - 1)
    digits = torch.tensor([levels**3, levels**2, levels, 1], device=tiles.device)
    return (steps * digits).sum(1).view(tiles.shape[:-2])
