"""Patches of images, and ids that describe them."""

import torch
from torch import Tensor
from torch.nn import functional as F


def patches(x: Tensor, size: int, overlap: int = 0) -> Tensor:
    """Square patches of images, row by row, ``(B, C, H, W)`` to ``(B, L, C, size, size)``.

    Neighbouring patches share ``overlap`` pixels. Images are framed with ``overlap / 2`` zeros;
    sides that do not divide are filled with zeros on the right and at the bottom.

    >>> patches(torch.zeros(2, 1, 8, 8), size=4, overlap=2).shape
    torch.Size([2, 16, 1, 4, 4])
    """
    frame, stride = overlap // 2, size - overlap
    right, bottom = (-(side + 2 * frame - size) % stride for side in (x.shape[3], x.shape[2]))
    filled = F.pad(x, (frame, frame + right, frame, frame + bottom))
    tiles = F.unfold(filled, size, stride=stride).transpose(1, 2)
    return tiles.reshape(len(x), -1, x.shape[1], size, size)


def content_ids(tiles: Tensor, levels: int) -> Tensor:
    """Ids of tiles from the brightness of their quarters.

    Each quarter's mean over ``(..., H, W)``, in 0 … 1, is rounded down to one of ``levels``; the
    four make one number below ``levels ** 4``.

    >>> content_ids(torch.tensor([[[0.0, 0.0], [0.0, 0.9]]]), 4).tolist()
    [3]
    """
    flat = tiles.reshape(-1, 1, *tiles.shape[-2:])
    quarters = F.adaptive_avg_pool2d(flat, 2).flatten(1)
    steps = (quarters * levels).long().clamp(0, levels - 1)
    digits = torch.tensor([levels**3, levels**2, levels, 1], device=tiles.device)
    return (steps * digits).sum(1).view(tiles.shape[:-2])


def patch_boxes(
    height: int, width: int, size: int, overlap: int = 0
) -> list[tuple[int, int, int, int]]:
    """Left, top, width and height of each patch of ``patches``, in pixels, without the overlap.

    Neighbours do not share pixels here: of an overlap each has half. Patches end with the image.

    >>> patch_boxes(4, 6, size=4, overlap=2)
    [(0, 0, 2, 2), (2, 0, 2, 2), (4, 0, 2, 2), (0, 2, 2, 2), (2, 2, 2, 2), (4, 2, 2, 2)]
    """
    stride = size - overlap
    rows, columns = (-(-(side + overlap - size) // stride) + 1 for side in (height, width))
    return [
        (left, top, min(stride, width - left), min(stride, height - top))
        for top in range(0, rows * stride, stride)
        for left in range(0, columns * stride, stride)
    ]
