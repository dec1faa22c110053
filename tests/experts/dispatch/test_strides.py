"""Gradients as autograd hands them over: expanded, turned over, or not asked for at all."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experts import mix
from routers import Items, Routing

from ..cases import bank_of, plain_mix, planned, same

pytestmark = pytest.mark.usefixtures("double")

N, DIM, HIDDEN, EXPERTS = 7, 3, 4, 5

#: Gradients of ``(N, D)`` that no kernel may take for contiguous ones.
PROBES = {
    "of a sum": lambda: torch.ones(()).expand(N, DIM),
    "the same row": lambda: torch.randn(DIM).expand(N, DIM),
    "the same column": lambda: torch.randn(N, 1).expand(N, DIM),
    "turned over": lambda: torch.randn(DIM, N).t(),
    "every other": lambda: torch.randn(2 * N, 2 * DIM)[::2, ::2],
}


def by_item(x, weight):
    chosen = torch.tensor([[0, 1], [3, 0], [0, 3], [3, 1], [1, 0], [0, 3], [0, 1]])
    return Routing.by_item(Items(x), chosen, weight.view(N, 2), EXPERTS)


def by_expert(x, weight):
    item = torch.tensor([[0, 3], [1, 2], [6, 5], [0, 1], [3, 2]])
    return Routing.by_expert(Items(x), item, weight[:10].view(EXPERTS, 2))


def after_drops(x, weight):
    return by_item(x, weight).limit(0.6)


def is_dense(x, weight):
    return Routing.by_mask(Items(x), weight.repeat(3)[: N * EXPERTS].view(N, EXPERTS))


ROUTES = [by_item, by_expert, after_drops, is_dense]


def case(bank):
    bank = bank_of(bank, EXPERTS, DIM, hidden=HIDDEN)
    torch.manual_seed(6)
    return torch.randn(N, DIM).requires_grad_(), torch.randn(2 * N).requires_grad_(), bank


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("base", [0, 8])
@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_gradients_with_any_strides(bank, base, route, probe):
    x, weight, bank = case(bank)
    probe, inputs = PROBES[probe](), [x, weight, *bank.parameters()]
    assert not probe.is_contiguous()
    with planned(base):
        fast = torch.autograd.grad(mix(x, route(x, weight), bank), inputs, probe)
    slow = torch.autograd.grad(plain_mix(x, route(x, weight), bank), inputs, probe.contiguous())
    for a, b in zip(fast, slow, strict=True):
        same(a, b)


@pytest.mark.parametrize("route", ROUTES)
def test_items_and_weights_with_any_strides(route):
    x, weight, bank = case("glu")
    turned = x.detach().t().contiguous().t().requires_grad_()
    sparse = weight.detach().repeat_interleave(3).requires_grad_()
    fast = mix(turned, route(turned, sparse[::3]), bank)
    slow = plain_mix(x, route(x, weight), bank)
    same(fast, slow)
    ours = torch.autograd.grad(fast.square().sum(), [turned, sparse, *bank.parameters()])
    theirs = torch.autograd.grad(slow.square().sum(), [x, weight, *bank.parameters()])
    same(ours[0], theirs[0])
    same(ours[1][::3], theirs[1])
    for a, b in zip(ours[2:], theirs[2:], strict=True):
        same(a, b)


SOME = [asked for asked in itertools.product([False, True], repeat=4) if any(asked)]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    asked=st.sampled_from(SOME),
    bank=st.sampled_from(["mlp", "glu"]),
    route=st.sampled_from(ROUTES),
    base=st.sampled_from([0, 8]),
)
def test_only_what_is_asked_for(asked, bank, route, base):
    """Frozen items, routers or experts: the rest gets what it would get with all of them."""
    x, weight, bank = case(bank)
    inputs = [x, weight, *bank.parameters()]
    for given_, asks in zip(inputs, asked, strict=True):
        given_.requires_grad_(asks)
    wanted = [given_ for given_ in inputs if given_.requires_grad]
    with planned(base):
        fast = mix(x, route(x, weight), bank).square().sum()
    fast.backward()
    slow = plain_mix(x, route(x, weight), bank).square().sum()
    for a, b in zip(wanted, torch.autograd.grad(slow, wanted), strict=True):
        same(a.grad, b)
    assert all(given_.grad is None for given_ in inputs if not given_.requires_grad)


ROWS = {
    "turned over": lambda rows: rows.t().contiguous().t(),
    "a slice": lambda rows: torch.cat([rows, rows[:, :1]], 1)[:, :4],  # 20 bytes from row to row
    "one for all": lambda rows: rows[0].expand(8, 4),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("load", [[2, 2, 2, 2], [0, 5, 1, 2]])
@pytest.mark.parametrize("strides", ROWS)
@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_rows_that_a_bank_is_given(bank, strides, load, dtype):
    """Sorted already, they reach the kernels with the strides they came with."""
    bank = bank_of(bank, 4, 4, hidden=8).to(dtype)
    torch.manual_seed(6)
    rows = ROWS[strides](torch.randn(8, 4, dtype=dtype)).requires_grad_()
    assert not rows.is_contiguous()
    chosen = torch.arange(4).repeat_interleave(torch.tensor(load)).unsqueeze(1)
    routing = Routing.by_item(Items(rows), chosen, torch.ones(8, 1, dtype=dtype), 4)
    inputs, tolerance = [rows, *bank.parameters()], 64 * torch.finfo(dtype).eps
    for probe in (torch.ones((), dtype=dtype).expand(8, 4), torch.randn(4, 8, dtype=dtype).t()):
        fast, slow = bank(rows, torch.tensor(load)), plain_mix(rows, routing, bank)
        same(fast, slow, tolerance)
        ours = torch.autograd.grad(fast, inputs, probe)
        theirs = torch.autograd.grad(slow, inputs, probe.contiguous())
        for a, b in zip(ours, theirs, strict=True):
            same(a, b, tolerance)
