"""Sorting small whole numbers."""

import numpy as np
import torch
from torch import Tensor

#: NumPy sorts 16-bit integers by radix, ten times faster than torch sorts 64-bit ones.
_RADIX = 2**16


def stable_order(keys: Tensor, bound: int) -> Tensor:
    """The permutation that sorts ``keys``, ties in the order they came.

    Args:
        keys: ``(A,)`` int64, from 0 to below ``bound``.
        bound: says whether the keys fit 16 bits.

    Returns:
        ``(A,)`` int64.

    >>> stable_order(torch.tensor([2, 0, 2, 1]), bound=3).tolist()
    [1, 3, 0, 2]
    """
    if keys.device.type != "cpu" or bound > _RADIX:
        return keys.argsort(stable=True)
    return torch.from_numpy(np.argsort(keys.numpy().astype(np.uint16), kind="stable"))
