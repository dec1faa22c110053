"""How many rows of each expert to batch: a small model of what products cost."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .layouts import PaddedPlusTail

Counts = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class GemmCostModel:
    """What matrix products cost on a CPU, beside their operations.

    Pairs are for one core, and for several that have to meet.

    Attributes:
        operations: how many a core does in a microsecond.
        kernel: microseconds for each expert in the grouped kernel.
        call: microseconds for each product called from here.
        rounded: whether only a few distinct numbers of rows may occur.
    """

    operations: float
    kernel: tuple[float, float]
    call: tuple[float, float]
    rounded: bool


#: Measured in the layer, on cores with AVX-512 and AMX. In bfloat16 oneDNN builds a kernel,
#: for about a millisecond, for every number of rows that it has not seen.
PRICES = {
    torch.float32: GemmCostModel(1.3e5, (1.5, 10.0), (4.0, 25.0), rounded=False),
    torch.float64: GemmCostModel(0.6e5, (1.5, 10.0), (4.0, 25.0), rounded=False),
    torch.bfloat16: GemmCostModel(6.5e5, (30.0, 30.0), (30.0, 30.0), rounded=True),
}

#: Experts from which batching them can pay, and how many kernel calls' time each may work.
_MANY, _LITTLE = 32, 5
#: Rows of the batched part for an assignment, at most.
_MOST = 4


def may_batch(num_experts: int, num_rows: int, row_flops: int, prices: GemmCostModel) -> bool:
    """Whether batching could pay: many experts with little work each.

    Elsewhere even the look at the load, which ``base_rows`` takes, would cost more.

    >>> prices = PRICES[torch.float32]
    >>> may_batch(64, 1024, 500, prices), may_batch(8, 1024, 500, prices)
    (True, False)
    """
    threads = torch.get_num_threads()
    work = num_rows / num_experts * row_flops / (prices.operations * threads)
    return num_experts >= _MANY and work < _LITTLE * prices.kernel[threads > 1]


def base_rows(load: Counts, row_flops: int, prices: GemmCostModel) -> int:
    """``base`` of the cheapest ``PaddedPlusTail`` layout; 0 if one product per expert is cheaper.

    ``base`` rows of every expert go through one batched product, padding included; each expert
    with more pays for a call of its own. Candidates are a few multiples of 8 from half the mean
    load to the largest, as long as the batched part has at most ``_MOST`` times as many rows as
    there are assignments: memory follows these and not ``E``.

    Args:
        load: ``(E,)`` rows of each expert.
        row_flops: operations of one row in one product.
        prices: of the dtype.

    >>> prices = PRICES[torch.float32]
    >>> base_rows(np.array([512, 16]), 500_000, prices), base_rows(np.full(64, 16), 500, prices)
    (0, 16)
    """
    several = torch.get_num_threads() > 1
    most, mean = int(load.max()), max(1, int(load.mean()))
    stride = _up(mean // 8, 8)
    first = _up(mean // 2, stride)
    candidates = np.array([0, *range(first, most, stride)[:32], _up(most, 8)])
    candidates = candidates[candidates * len(load) <= _MOST * load.sum()]
    over = np.maximum(load - candidates[:, None], 0)
    calls = (over > 0).sum(1) * prices.call[several]
    calls[0] = len(load) * prices.kernel[several]
    rows = len(load) * candidates + over.sum(1)
    cost = calls + rows * row_flops / (prices.operations * torch.get_num_threads())
    return int(candidates[cost.argmin()])


def tiers(
    load: Counts, base: int, prices: GemmCostModel
) -> tuple[PaddedPlusTail, np.ndarray[Any, Any]]:
    """The layout, and the row ``(A,)`` of each assignment in it, in the experts' order."""
    over = load - base
    (busy,) = np.nonzero(over > 0)
    room = over[busy]
    if prices.rounded:
        room = np.array([rounded_rows(count) for count in room.tolist()], dtype=np.int64)
    head = len(load) * base
    end = head + room.cumsum()
    tails = list(zip(busy.tolist(), (end - room).tolist(), end.tolist(), strict=True))
    size = int(end[-1]) if tails else head
    # in the experts' order each expert has a run in its batched part, then one in its tail
    start = np.stack([np.arange(len(load)) * base, np.zeros_like(load)], 1)
    start[busy, 1] = end - room
    length = np.stack([np.minimum(load, base), np.maximum(over, 0)], 1).ravel()
    shift = start.ravel() - (length.cumsum() - length)
    row = np.arange(int(length.sum())) + np.repeat(shift, length)
    return PaddedPlusTail(len(load), base, tails, size), row


def rounded_rows(count: int) -> int:
    """``count`` rounded up to a multiple of 16 and of an eighth of the power of two below.

    >>> [rounded_rows(n) for n in (1, 17, 100, 1100)]
    [16, 32, 112, 1280]
    """
    return _up(count, max(16, 1 << ((count - 1).bit_length() - 3))) if count > 16 else 16


def _up(count: int, step: int) -> int:
    return max(step, -(-count // step) * step)
