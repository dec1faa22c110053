"""A cost model of matrix products on a CPU, and the number of rows per expert to batch."""

from dataclasses import dataclass

import numpy as np
import torch

Counts = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class GemmCostModel:
    """Cost of matrix products on a CPU; pairs are for one core, and for several that synchronize.

    Attributes:
        operations: of one core in a microsecond.
        kernel: microseconds per expert in the grouped kernel.
        call: microseconds per product called separately.
        rounded: whether numbers of rows are rounded to a few distinct ones.
    """

    operations: float
    kernel: tuple[float, float]
    call: tuple[float, float]
    rounded: bool


#: Measured in the layer, on cores with AVX-512 and AMX. In bfloat16 oneDNN builds a kernel,
#: for about a millisecond, for every new number of rows.
GEMM_COSTS = {
    torch.float32: GemmCostModel(1.3e5, (1.5, 10.0), (4.0, 25.0), rounded=False),
    torch.float64: GemmCostModel(0.6e5, (1.5, 10.0), (4.0, 25.0), rounded=False),
    torch.bfloat16: GemmCostModel(6.5e5, (30.0, 30.0), (30.0, 30.0), rounded=True),
}

#: The most rows of the batched part per assignment.
MAX_ROWS_PER_ASSIGNMENT = 4


def base_rows(load: Counts, row_flops: int, cost: GemmCostModel) -> int:
    """``base`` of the cheapest ``PaddedPlusTail`` layout; 0 if one product per expert is cheaper.

    ``base`` rows of every expert go through one batched product, padding included; each expert
    with more pays for a separate call. Candidates are a few multiples of 8 from half the mean load
    to the largest, as long as the batched part has at most ``MAX_ROWS_PER_ASSIGNMENT`` times as
    many rows as there are assignments: memory grows with these and not with ``E``. ``load``
    ``(E,)`` are rows of each expert, ``row_flops`` operations of one row in one product.

    >>> cost = GEMM_COSTS[torch.float32]
    >>> base_rows(np.array([512, 16]), 500_000, cost), base_rows(np.full(64, 16), 500, cost)
    (0, 16)
    """
    several = torch.get_num_threads() > 1
    most, mean = int(load.max()), max(1, int(load.mean()))
    stride = _up(mean // 8, 8)
    first = _up(mean // 2, stride)
    candidates = np.array([0, *range(first, most, stride)[:32], _up(most, 8)])
    candidates = candidates[candidates * len(load) <= MAX_ROWS_PER_ASSIGNMENT * load.sum()]
    over = np.maximum(load - candidates[:, None], 0)
    calls = (over > 0).sum(1) * cost.call[several]
    calls[0] = len(load) * cost.kernel[several]
    rows = len(load) * candidates + over.sum(1)
    total = calls + rows * row_flops / (cost.operations * torch.get_num_threads())
    return int(candidates[total.argmin()])


def rounded_rows(count: int) -> int:
    """``count`` rounded up to a multiple of 16 and of an eighth of the power of two below.

    >>> [rounded_rows(n) for n in (1, 17, 100, 1100)]
    [16, 32, 112, 1280]
    """
    return _up(count, max(16, 1 << ((count - 1).bit_length() - 3))) if count > 16 else 16


def _up(count: int, step: int) -> int:
    return max(step, -(-count // step) * step)
