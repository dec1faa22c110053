"""Both products of every layout, against sums over rows that are written out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from experts.kernels.gemm_cost import GEMM_COSTS, rounded_rows
from experts.kernels.layouts import Even, PaddedPlusTail, Ragged, padded_plus_tail

EXACT, ROUNDED = GEMM_COSTS[torch.float64], GEMM_COSTS[torch.bfloat16]
#: Of the norm, in units of eps: bfloat16 is summed in float32 and rounded once.
TOLERANCE = {torch.float64: 16, torch.float32: 16, torch.bfloat16: 1}
LOADS = st.lists(st.sampled_from([0, 0, 1, 2, 5, 17, 40]), min_size=1, max_size=6)


def parts_of(layout: PaddedPlusTail) -> list[tuple[int, int, int]]:
    """``(expert, first row, end)`` of all parts of the buffer, in its order."""
    base = layout.base
    return [(e, e * base, (e + 1) * base) for e in range(layout.num_experts)] + [*layout.tails]


def owners_of(layout: PaddedPlusTail) -> torch.Tensor:
    """The expert whose part each row lies in, ``(S,)``."""
    return torch.tensor([e for e, first, end in parts_of(layout) for _ in range(first, end)]).long()


def close(got, wanted, dtype):
    assert got.shape == wanted.shape
    assert got.dtype == dtype
    error = (got.double() - wanted).norm()
    assert error <= TOLERANCE[dtype] * torch.finfo(dtype).eps * wanted.norm()  # and not NaN


def check(layout, owner, num_experts, widths, dtype, seed=0):
    """Rows of ``owner`` ``(S,)`` each."""
    inputs, outputs = widths
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    rows, right = draw(len(owner), inputs), draw(len(owner), outputs)
    stack, turned = draw(num_experts, inputs, outputs), draw(num_experts, outputs, inputs)
    for matrices in (stack, turned.transpose(1, 2)):  # the backward pass turns them over
        wanted = torch.einsum("si,sio->so", rows.double(), matrices.double()[owner])
        close(layout.grouped_matmul(rows, matrices), wanted, dtype)
    who = F.one_hot(owner, num_experts).double()
    wanted = torch.einsum("se,si,so->eio", who, rows.double(), right.double())
    got = layout.grouped_outer(rows, right)
    close(got, wanted, dtype)
    assert not got[who.sum(0) == 0].any()


CASES = {
    "widths": st.tuples(st.sampled_from([1, 3, 8, 16]), st.sampled_from([1, 5, 8, 24])),
    "dtype": st.sampled_from(list(TOLERANCE)),
    "seed": st.integers(0, 99),
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(load=LOADS, **CASES)
def test_ragged(load, widths, dtype, seed):
    load = torch.tensor(load)
    owner = torch.arange(len(load)).repeat_interleave(load)
    check(Ragged(load), owner, len(load), widths, dtype, seed)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(num_experts=st.integers(1, 5), each=st.integers(0, 9), **CASES)
def test_even(num_experts, each, widths, dtype, seed):
    owner = torch.arange(num_experts).repeat_interleave(each)
    check(Even(num_experts, each), owner, num_experts, widths, dtype, seed)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(load=LOADS, base=st.sampled_from([0, 1, 2, 8, 64]), rounded=st.booleans(), **CASES)
def test_tiered(load, base, rounded, widths, dtype, seed):
    layout, _ = padded_plus_tail(np.array(load), base, ROUNDED if rounded else EXACT)
    check(layout, owners_of(layout), len(load), widths, dtype, seed)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_tiered_as_written_down(dtype):
    """Tails in any order, and experts that have none."""
    layout = PaddedPlusTail(3, 2, [(2, 6, 9), (0, 9, 10)], 10)
    owner = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2, 2, 0])
    check(layout, owner, 3, (5, 7), dtype)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    load=st.lists(st.integers(0, 70), min_size=1, max_size=8),
    base=st.integers(0, 80),
    rounded=st.booleans(),
)
def test_every_assignment_has_a_row_of_its_own_with_its_expert(load, base, rounded):
    load = np.array(load)
    layout, row = padded_plus_tail(load, base, ROUNDED if rounded else EXACT)
    owner = owners_of(layout)
    assert len(owner) == layout.size
    assert len(set(row.tolist())) == len(row) == load.sum()
    assert owner[torch.from_numpy(row)].tolist() == np.repeat(np.arange(len(load)), load).tolist()
    assert [expert for expert, _, _ in layout.tails] == np.flatnonzero(load > base).tolist()
    edge = len(load) * base
    for expert, first, end in layout.tails:
        assert first == edge
        over = int(load[expert]) - base
        assert end - first == (rounded_rows(over) if rounded else over)
        edge = end
    assert edge == layout.size


def test_rounded_rows_hold_them_all_in_few_sizes():
    """Each new size costs a kernel; an eighth of padding is what few sizes may cost."""
    counts = range(1, 5000)
    sizes = [rounded_rows(count) for count in counts]
    assert all(count <= size < 1.25 * count + 16 for count, size in zip(counts, sizes, strict=True))
    assert all(size % 16 == 0 for size in sizes)
    assert len(set(sizes)) < 60
