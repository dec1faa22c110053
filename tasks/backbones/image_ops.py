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


def random_flip(x: Tensor, chance: float) -> Tensor:
    """Each image as in a mirror, left for right, or as it is.

    Args:
        x: ``(B, C, H, W)`` of any type.
        chance: of a mirror, from 0 to 1.

    >>> random_flip(torch.tensor([[[[1, 2, 3]]]]), chance=1.0).tolist()
    [[[[3, 2, 1]]]]
    """
    turned = torch.rand(len(x), device=x.device) < chance
    return torch.where(turned.view(-1, 1, 1, 1), x.flip(-1), x)


def random_crop(x: Tensor, reach: tuple[int, int]) -> Tensor:
    """Each image cut out of itself with a border of zeros, at random: it moves a little.

    Source: He et al. 2015, 1512.03385, section 4.2 (4 pixels around 32x32).

    Args:
        x: ``(B, C, H, W)`` of any type.
        reach: most pixels an image moves, down or up and right or left.

    >>> random_crop(torch.ones(1, 1, 8, 8, dtype=torch.uint8), (1, 1)).shape
    torch.Size([1, 1, 8, 8])
    """
    count, _, *size = x.shape
    (down, right), (height, width) = reach, size
    framed = F.pad(x, (right, right, down, down))
    windows = framed.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2 down + 1, …, H, W)
    top, left = (torch.randint(2 * most + 1, (count,), device=x.device) for most in reach)
    return windows[torch.arange(count, device=x.device), :, top, left]


def square_tiles(x: Tensor, size: int) -> Tensor:
    """Images cut into squares, row by row, ``(B, C, H, W)`` to ``(B, L, C, size, size)``.

    Sides that do not divide are filled with zeros on the right and at the bottom.

    >>> square_tiles(torch.zeros(2, 3, 28, 30), size=8).shape
    torch.Size([2, 16, 3, 8, 8])
    """
    channels, height, width = x.shape[1:]
    filled = F.pad(x, (0, -width % size, 0, -height % size))
    tiles = F.unfold(filled, size, stride=size).transpose(1, 2)
    return tiles.reshape(len(x), -1, channels, size, size)


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
