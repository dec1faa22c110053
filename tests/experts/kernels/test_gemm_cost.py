"""How many rows to batch: the cheapest by the stated model, found again one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experts.kernels.gemm_cost import GEMM_COSTS, base_rows
from experts.kernels.layouts import may_batch


def cost(load: list[int], base: int, row_flops: int, prices, threads: int) -> float:
    """Microseconds by the model: what calls cost, and the operations of all rows."""
    several = threads > 1
    calls, rows = 0.0, 0
    for count in load:
        if base:
            calls += prices.call[several] if count > base else 0.0
        else:
            calls += prices.kernel[several]
        rows += max(count, base)
    return calls + rows * row_flops / (prices.operations * threads)


def chosen(load, row_flops, prices, threads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.get_num_threads", lambda: threads)
        return base_rows(np.array(load), row_flops, prices)


LOADS = st.lists(
    st.one_of(st.integers(0, 12), st.integers(0, 60), st.just(0)), min_size=1, max_size=80
)
MODEL = {
    "row_flops": st.sampled_from([1, 500, 20_000, 10**6]),
    "dtype": st.sampled_from(list(GEMM_COSTS)),
    "threads": st.sampled_from([1, 4]),
}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(load=LOADS, **MODEL)
def test_cheapest_of_all_multiples_of_eight(load, row_flops, dtype, threads):
    prices = GEMM_COSTS[dtype]
    base = chosen(load, row_flops, prices, threads)
    half_mean = max(1, int(np.mean(load))) // 2
    last = max(8, math.ceil(max(load) / 8) * 8)
    every = [0, *range(max(8, math.ceil(half_mean / 8) * 8), last + 1, 8), last]
    every = [b for b in every if b * len(load) <= 4 * sum(load)]  # memory follows assignments
    prices_of_all = {b: cost(load, b, row_flops, prices, threads) for b in every}
    assert base in prices_of_all
    assert prices_of_all[base] == pytest.approx(min(prices_of_all.values()), rel=1e-12)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(load=st.lists(st.integers(0, 5000), min_size=1, max_size=80), **MODEL)
def test_never_dearer_than_no_batch_or_one_batch(load, row_flops, dtype, threads):
    """Of large loads only some sizes are looked at; these two always are."""
    prices = GEMM_COSTS[dtype]
    base = chosen(load, row_flops, prices, threads)
    whole = max(8, math.ceil(max(load) / 8) * 8)
    assert base % 8 == 0
    assert base <= whole
    some = (0, whole) if whole * len(load) <= 4 * sum(load) else (0,)
    best = min(cost(load, b, row_flops, prices, threads) for b in some)
    assert cost(load, base, row_flops, prices, threads) <= best * (1 + 1e-12)


@pytest.mark.parametrize(
    ("load", "row_flops", "wanted"),
    [
        ([0] * 64, 500, 0),  # nothing to do
        ([7], 10**6, 0),  # one expert: a row of padding is dearer than the kernel's call
        ([8], 10**6, 8),  # and here there is no padding
        ([0] * 63 + [4096], 500, 32),  # all on one: half the mean for each, the rest for that one
        ([0] * 63 + [4096], 10**6, 0),  # work that no batch may pad
        ([0] * 60 + [8] * 4, 1, 0),  # a batch of 64 * 8 rows for 32 assignments
        ([16] * 64, 500, 16),
        ([1000] * 64, 10**6, 1000),  # padding nothing
    ],
)
def test_edges(load, row_flops, wanted):
    assert chosen(load, row_flops, GEMM_COSTS[torch.float32], 1) == wanted


@pytest.mark.parametrize("threads", [1, 4])
def test_only_many_experts_with_little_work_are_looked_at(monkeypatch, threads):
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    prices = GEMM_COSTS[torch.float32]
    assert may_batch(32, 32 * 10, 500, prices)
    assert not may_batch(31, 31 * 10, 500, prices)
    # five kernel calls' time of work for each expert is the border
    border = 5 * prices.kernel[threads > 1] * prices.operations * threads / 500
    assert may_batch(64, int(64 * border * 0.99), 500, prices)
    assert not may_batch(64, int(64 * border * 1.01), 500, prices)
