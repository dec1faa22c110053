"""Sorting small whole numbers: the order of ``argsort(stable=True)``, with keys of any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.blocks import stable_order

BOUNDS = [1, 2, 7, 2**15 + 1, 2**16 - 1, 2**16, 2**16 + 1, 2**40]


def check(keys, bound):
    order = stable_order(keys, bound)
    assert order.dtype == torch.int64
    assert order.tolist() == sorted(range(len(keys)), key=keys.tolist().__getitem__)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    count=st.integers(0, 300),
    bound=st.sampled_from(BOUNDS),
    kinds=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_ties_stay_as_they_came(count, bound, kinds, seed):
    generator = torch.Generator().manual_seed(seed)
    few = torch.randint(bound, (kinds,), generator=generator)
    check(few[torch.randint(kinds, (count,), generator=generator)], bound)


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_largest_key_of_all(bound):
    """One below the bound is the last that 16 bits may have to hold."""
    check(torch.tensor([bound - 1, 0, bound // 2, bound - 1, 0]), bound)


def test_as_torch_sorts_many():
    keys = torch.randint(64, (20_000,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(stable_order(keys, 64), keys.argsort(stable=True))


def test_keys_with_any_strides():
    check(torch.tensor([[3, 1], [0, 1], [3, 0]])[:, 0], 4)
    check(torch.tensor([2]).expand(5), 3)
