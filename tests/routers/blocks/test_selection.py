"""Selection of the K largest: every algorithm agrees with ``torch.topk``."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from routers.blocks import selection, softmax, top_k, top_k_unsorted

# (width, k) that take each way: one pass, two passes, blocks, and torch's own
WAYS = {
    "max": [(1, 1), (5, 1), (4096, 1)],
    "_two_largest": [(2, 2), (7, 2), (128, 2)],
    "_by_blocks": [(1024, 2), (1024, 128), (1028, 3), (4096, 8)],
    "topk": [(129, 2), (5, 5), (5, 0), (6, 3), (1024, 129), (1023, 4), (1025, 2), (1026, 2)],
}
SIZES = [(way, *size) for way, sizes in WAYS.items() for size in sizes]


def check(scores, k, index):
    """The same values, largest first, by indices that are all different."""
    assert index.dtype == torch.int64
    torch.testing.assert_close(scores.gather(-1, index), scores.topk(k, -1).values, rtol=0, atol=0)
    ordered = index.sort(-1).values
    assert (ordered[..., 1:] != ordered[..., :-1]).all()


@pytest.mark.parametrize("lead", [(), (9,), (2, 3), (0,), (4, 0)])
@pytest.mark.parametrize(("way", "width", "k"), SIZES)
def test_top_k(monkeypatch, way, width, k, lead):
    torch.manual_seed(width)
    taken = []
    for name in ("_two_largest", "_by_blocks"):
        real = getattr(selection, name)
        monkeypatch.setattr(selection, name, lambda *a, f=real, n=name: (taken.append(n), f(*a))[1])
    scores = torch.randn(*lead, width)
    check(scores, k, top_k(scores, k))
    assert taken == ([way] if way.startswith("_") else [])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    size=st.sampled_from(SIZES),
    kinds=st.integers(1, 4),
    minus_inf=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    seed=st.integers(0, 99),
)
def test_top_k_with_ties_and_minus_infinity(size, kinds, minus_inf, seed):
    """Experts that a mask rules out: none may be named twice for want of others."""
    _, width, k = size
    torch.manual_seed(seed)
    scores = torch.randint(kinds, (3, width)).float()
    ruled_out = torch.rand(3, width) < minus_inf
    if size[0] == "_two_largest":
        ruled_out[:, torch.randperm(width)[:2]] = False
    scores = scores.masked_fill(ruled_out, -torch.inf)
    check(scores, k, top_k(scores, k))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("way", "width", "k"), SIZES)
def test_top_k_of_scores_with_any_strides_and_dtype(way, width, k, dtype):
    torch.manual_seed(width)
    scores = torch.randn(width, 6).to(dtype).t()
    check(scores, k, top_k(scores, k))
    expanded = torch.randn(width).to(dtype).expand(4, width)
    check(expanded, k, top_k(expanded, k))
    every_third = torch.randn(2, 3 * width).to(dtype)[:, ::3]
    check(every_third, k, top_k(every_third, k))


def test_the_largest_of_each_block_and_no_other():
    """All of the largest in one block, and one in each."""
    width, k = 1024, 4
    blocks = width // 4
    for index in ([5, 5 + blocks, 5 + 2 * blocks, 5 + 3 * blocks], [0, 1, 2, width - 1]):
        scores = torch.zeros(width)
        scores[index] = torch.tensor([4.0, 3.0, 2.0, 1.0])
        assert top_k(scores, k).tolist() == index


def test_scores_that_ask_for_a_gradient():
    """NumPy refuses these where they are not cut off first."""
    for _, width, k in SIZES:
        assert top_k_unsorted(torch.randn(2, width, requires_grad=True), k).shape == (2, k)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    width=st.sampled_from([1, 2, 5, 70, 128, 1024]),
    part=st.sampled_from([0.0, 0.001, 0.02, 0.3, 0.9, 1.0]),
    lead=st.sampled_from([(), (4,), (2, 3), (0,)]),
    kinds=st.sampled_from([1, 3, 10**6]),
    seed=st.integers(0, 99),
)
def test_largest_is_the_same_set(width, part, lead, kinds, seed):
    torch.manual_seed(seed)
    k = round(part * width)
    scores = torch.randint(kinds, (*lead, width)).float()
    if (width, k) != (2, 2):
        scores = scores.masked_fill(torch.rand(scores.shape) < 0.2, -torch.inf)
    index = top_k_unsorted(scores, k)
    assert index.shape == (*lead, k)
    by_value = scores.gather(-1, index).sort(-1, descending=True).values
    torch.testing.assert_close(by_value, scores.topk(k, -1).values, rtol=0, atol=0)
    ordered = index.sort(-1).values
    assert (ordered[..., 1:] != ordered[..., :-1]).all()


def test_largest_of_a_turned_matrix():
    scores = torch.randn(50, 3).t()
    same = top_k_unsorted(scores, 20).sort(-1).values
    assert torch.equal(same, scores.topk(20, -1).indices.sort(-1).values)


@pytest.mark.parametrize("width", [1, 4, 15, 16, 40])
@pytest.mark.parametrize("lead", [(6,), (2, 3), (0,)])
def test_softmax_of_few_columns(lead, width):
    torch.manual_seed(0)
    logits = torch.randn(*lead, width, dtype=torch.float64).requires_grad_()
    found, wanted = softmax(logits), logits.softmax(-1)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(wanted)
    (got,) = torch.autograd.grad(found, logits, probe)
    (expected,) = torch.autograd.grad(wanted, logits, probe)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
