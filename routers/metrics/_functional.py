"""Measures of how evenly a load ``(E,)`` is spread."""

import math

from torch import Tensor

from ..losses import entropies


def load_cv(load: Tensor) -> float:
    """Coefficient of variation of the load, population form; 0 at balance.

    >>> import torch
    >>> load_cv(torch.tensor([1, 3]))
    0.5
    """
    load = load.double()
    return float(load.std(correction=0) / load.mean()) if load.sum() else 0.0


def max_violation(load: Tensor) -> float:
    """``(max load - mean load) / mean load`` (Wang et al. 2024, 2408.15664); 0 at balance.

    >>> import torch
    >>> max_violation(torch.tensor([1, 3]))
    0.5
    """
    load = load.double()
    return float(load.max() / load.mean() - 1) if load.sum() else 0.0


def load_entropy(load: Tensor) -> float:
    """Entropy of the load's distribution over ``log E``; 1 at balance, 0 for one expert.

    >>> import torch
    >>> load_entropy(torch.tensor([2, 2]))
    1.0
    """
    if len(load) == 1 or not load.sum():
        return 1.0
    return float(entropies(load.double() / load.sum())) / math.log(len(load))
