"""Capacity as a whole number: libraries agree on the share, not on how it is rounded.

Ten items, four experts, two per item and a factor of 1.25 give 6.25 places, of which the field
makes 6, 7 or 8.
"""

from collections.abc import Callable

from torch import Tensor

from ..plugins.errors import unknown

#: ``(factor, items (A,), experts per item (A,), E) -> places (A,)``, all float64.
Rounding = Callable[[float, Tensor, Tensor, int], Tensor]

#: A factor such as 1.1 is not quite itself in binary; that may not add or cost a place.
_SLACK = 1e-9


def _share(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    return factor * each * items / experts


def _up(places: Tensor) -> Tensor:
    return (places - _SLACK).ceil()


def _down(places: Tensor) -> Tensor:
    return (places + _SLACK).floor()


def ceil(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``ceil(f K n / E)`` (Megatron-Core)."""
    return _up(_share(factor, items, each, experts))


def floor(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``floor(f K n / E)`` (GShard and Mesh TensorFlow, but for their least capacity)."""
    return _down(_share(factor, items, each, experts))


def nearest(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``f K n / E`` to the nearest, halves to even (Flaxformer)."""
    return _share(factor, items, each, experts).round()


def ceil_per_choice(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``K ceil(f n / E)``: each choice is rounded by itself (fairseq)."""
    return _up(each * _up(factor * items / experts))


def floor_of_even(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``K floor(f ceil(n / E))``: of the even share, itself rounded up (Tutel)."""
    return _up(each * _down(factor * _up(items / experts)))


def ceil_to_4(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``f K n / E`` up to the next multiple of 4, as tiles of hardware like it (V-MoE)."""
    return (ceil(factor, items, each, experts) / 4).ceil() * 4


def ceil_from_4(factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """``max(4, ceil(f K n / E))``, so that short groups lose less (DeepSpeed)."""
    return ceil(factor, items, each, experts).clamp_min(4)


#: How a capacity is rounded, by name, in ``f`` the factor, ``K`` experts per item, ``n`` items.
ROUNDINGS: dict[str, Rounding] = {
    rounding.__name__: rounding
    for rounding in (ceil, floor, nearest, ceil_per_choice, floor_of_even, ceil_to_4, ceil_from_4)
}


def places(rounding: str, factor: float, items: Tensor, each: Tensor, experts: int) -> Tensor:
    """Whole places per expert, int64, never less than one.

    >>> import torch
    >>> ten, two = torch.tensor(10.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    >>> [places(name, 1.25, ten, two, 4).item() for name in ROUNDINGS]
    [7, 6, 6, 8, 6, 8, 7]
    """
    return ROUNDINGS[rounding](factor, items, each, experts).clamp_min(1).long()


def check_rounding(rounding: str, key: str = "rounding") -> None:
    """Raise ``ConfigError`` for a rounding that nobody knows."""
    if rounding not in ROUNDINGS:
        raise unknown(key, rounding, ROUNDINGS)
