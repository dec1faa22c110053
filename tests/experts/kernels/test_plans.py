"""Feed-forward experts equal the reference, whatever layout they take."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experts import MoE, mix, mix_reference
from experts.kernels.layouts import Even, PaddedPlusTail, Ragged
from routers import Items, Routing

from ...router_samples import SELECTING
from ..cases import (
    bank_of,
    call,
    gradients,
    learnable,
    plain_mix,
    planned,
    router_of,
    routing_of,
    rows_for,
    same,
)

BANKS = ["mlp", "glu"]
BASES = [0, 1, 8, 64]


@st.composite
def graphs(draw):
    """Items, a bank and who goes where: sizes, skew, drops and weights of any kind."""
    num_experts, n = draw(st.integers(1, 6)), draw(st.integers(0, 9))
    k = draw(st.integers(1, num_experts))
    torch.manual_seed(draw(st.integers(0, 99)))
    dim, hidden = draw(st.integers(1, 9)), draw(st.sampled_from([1, 3, 4, 8]))
    bank = bank_of(draw(st.sampled_from(BANKS)), num_experts, dim, hidden=hidden)
    x = torch.randn(n, dim)
    skew = draw(st.sampled_from([0.0, 3.0, 50.0]))  # at 50 all want the first experts
    chosen = (torch.randn(n, num_experts) - skew * torch.arange(num_experts)).topk(k).indices
    tasks = draw(st.sampled_from([None, None, 1, 3]))
    weight = torch.randn(n, k) if tasks is None else torch.randn(n, k, tasks)
    weight = torch.where(torch.rand_like(weight) < 0.2, 0.0, weight)  # zero is a weight too
    routing = Routing.by_item(Items(x), chosen, weight, num_experts)
    limit = draw(st.sampled_from([None, None, 0.5, 1.0]))
    if limit is not None:
        routing = routing.limit(limit, draw(st.sampled_from(["position", "random"])))
    return x, routing, bank


def leaves(x, routing, bank):
    """The same case with inputs that ask for gradients, and these inputs."""
    x, weight = x.detach().clone().requires_grad_(), routing.weight.detach().clone()
    routing = replace(routing, weight=weight.requires_grad_())
    return x, routing, [x, weight, *learnable(bank)]


def compare(case, slow=mix_reference):
    x, routing, inputs = leaves(*case)
    bank = case[2]
    fast = mix(x, routing, bank)
    results = [[fast, *gradients(fast, inputs)]]
    for engine in (slow, plain_mix):
        y = engine(x, routing, bank)
        results.append([y, *gradients(y, inputs)])
    for found in zip(*results, strict=True):
        same(found[0], found[1])
        same(found[0], found[2])


@pytest.mark.usefixtures("double")
@settings(max_examples=120, deadline=None, derandomize=True)
@given(case=graphs(), base=st.sampled_from(BASES), rounded=st.booleans())
def test_in_float64(case, base, rounded):
    with planned(base, rounded) as taken:
        compare(case)
    assert type(taken[0]) is (PaddedPlusTail if (base or rounded) and len(case[0]) else Ragged)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(case=graphs(), base=st.sampled_from([None, *BASES]), rounded=st.booleans())
def test_in_float32(case, base, rounded):
    """Against the same numbers in float64; the kernel that takes only float32 runs here."""
    bank = case[2]
    x, routing, inputs = leaves(*case)
    with planned(base, rounded):
        y = mix(x, routing, bank)
        found = [y, *gradients(y, inputs)]
    wide = bank_of(bank_name(bank), bank.num_experts, bank.dim, hidden=bank.hidden).double()
    wide.load_state_dict(bank.state_dict())
    x, routing, inputs = leaves(x.double(), replace(routing, weight=routing.weight.double()), wide)
    y = plain_mix(x, routing, wide)
    for got, wanted in zip(found, [y, *gradients(y, inputs)], strict=True):
        assert got.dtype == torch.float32
        error, size = (got - wanted).detach().norm(), wanted.detach().norm()
        assert error <= 64 * torch.finfo(torch.float32).eps * size.clamp_min(1e-3)


def bank_name(bank):
    return type(bank).__name__.lower()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("router", SELECTING)
def test_routers_get_the_same_gradient(router, base):
    """Also in training, where capacity leaves items with some of their experts or none."""
    layer = MoE(router_of(router), bank_of("glu", hidden=3), capacity=0.7, renormalize=True).train()
    x = rows_for(layer.bank, 9)
    inputs = [x, *learnable(layer)]
    torch.manual_seed(5)
    with planned(base, rounded=bool(base)):
        y, routing = call(layer, x)
    slow = mix_reference(x, routing, layer.bank)
    same(y, slow)
    for a, b in zip(gradients(y, inputs), gradients(slow, inputs), strict=True):
        same(a, b)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("tasks", [None, 2])
@pytest.mark.parametrize("bank", BANKS)
def test_as_many_rows_for_each_expert_take_one_batched_product(bank, tasks):
    """Expert choice; also a complete routing with weights for several tasks."""
    bank = bank_of(bank, 5, 3, hidden=4)
    x = torch.randn(7, 3)
    every = torch.arange(7).expand(5, 7)
    for item, complete in ((every[:, :2] * 3, False), (every, tasks is not None)):
        weight = torch.randn(item.shape if tasks is None else (*item.shape, tasks))
        routing = replace(Routing.by_expert(Items(x), item, weight), is_dense=complete)
        with planned() as taken:
            compare((x, routing, bank))
        assert [type(layout) for layout in taken] == [Even]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("bank", BANKS)
def test_slots(bank):
    router, bank = router_of("soft_moe"), bank_of(bank, hidden=3)
    x = rows_for(bank, 6)
    inputs = [x, *learnable(router, bank)]
    routing = router(Items(x, groups=2))
    fast, slow = mix(x, routing, bank), mix_reference(x, routing, bank)
    same(fast, slow)
    for a, b in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
        same(a, b)
    # the reference calls the same bank; this does not
    slots = torch.einsum("gls,gld->gsd", routing.execution.dispatch, x.view(2, 3, -1)).flatten(0, 1)
    by_expert = Routing.by_expert(Items(slots), routing.item.view(4, -1), torch.ones(4, 4))
    out = plain_mix(slots, by_expert, bank).view(2, -1, bank.dim)
    plain = torch.einsum("gls,gsd->gld", routing.execution.combine, out).flatten(0, 1)
    same(fast, plain)
    for a, b in zip(gradients(fast, inputs), gradients(plain, inputs), strict=True):
        same(a, b)


@pytest.mark.parametrize(("num_experts", "expected"), [(64, PaddedPlusTail), (8, Ragged)])
def test_the_model_is_asked(num_experts, expected):
    """Nothing is forced here: many experts with few rows are batched, a few are not."""
    bank = bank_of("mlp", num_experts, hidden=16)
    x = torch.randn(256, bank.dim)
    chosen = torch.rand(256, num_experts).topk(2).indices
    routing = Routing.by_item(Items(x), chosen, torch.rand(256, 2), num_experts)
    with planned() as taken, torch.no_grad():
        y = mix(x, routing, bank)
        torch.testing.assert_close(y, plain_mix(x, routing, bank))
    assert [type(layout) for layout in taken] == [expected]


@pytest.mark.parametrize("base", [0, 8])
def test_second_derivatives_are_refused(base):
    """The steps have a first derivative only; a silent zero would be worse than an error."""
    bank = bank_of("mlp")
    x = rows_for(bank, 3)
    routing = routing_of([(0, 1), (1, 2), (2, 2)], torch.ones(3).requires_grad_(), 3)
    with planned(base):
        y = mix(x, routing, bank)
    for inputs in (x, routing.weight, bank.up):
        (first,) = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()
