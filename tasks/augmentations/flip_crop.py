"""Random mirror images and shifts."""

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import OptionError

from .._task import check_rates
from ._base import AUGMENTATIONS, Augmentation


@AUGMENTATIONS.register("flip_crop")
class FlipCrop(Augmentation):
    """Crops images out of a border of zeros, and on request mirrors them left to right, at random.

    Args:
        flip: probability of a mirror image; 0.5 for images, such as photos of animals, whose class
            does not depend on left and right.
        crop: largest shift, as a fraction of each side; 0 for none.
    """

    def __init__(self, *, flip: float = 0.0, crop: float = 0.125) -> None:
        if not 0 <= flip <= 1:
            raise OptionError("flip", flip, "a number in [0, 1]")
        check_rates(crop=crop)
        self.flip = flip
        self.crop = crop

    def __call__(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        reach = (round(self.crop * height), round(self.crop * width))
        return random_crop(random_flip(x, self.flip), reach)


def random_flip(x: Tensor, chance: float) -> Tensor:
    """Each of the images ``(B, C, H, W)`` mirrored left to right with this chance.

    >>> random_flip(torch.tensor([[[[1, 2, 3]]]]), chance=1.0).tolist()
    [[[[3, 2, 1]]]]
    """
    mirrored = torch.rand(len(x), device=x.device) < chance
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)


def random_crop(x: Tensor, reach: tuple[int, int]) -> Tensor:
    """Each of the images ``(B, C, H, W)`` shifted at random, with zeros outside its frame.

    The largest vertical and horizontal shift is ``reach``, in pixels.
    Source: He et al. 2015, 1512.03385, section 4.2 (4 pixels around 32x32).

    >>> random_crop(torch.ones(1, 1, 8, 8, dtype=torch.uint8), (1, 1)).shape
    torch.Size([1, 1, 8, 8])
    """
    count, _, *size = x.shape
    (down, right), (height, width) = reach, size
    framed = F.pad(x, (right, right, down, down))
    windows = framed.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2 down + 1, …, H, W)
    top, left = (torch.randint(2 * most + 1, (count,), device=x.device) for most in reach)
    return windows[torch.arange(count, device=x.device), :, top, left]
