"""The same layer under autocast, in bfloat16, with recomputed activations, and compiled."""

import copy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from experts import MoE
from experts.kernels.layouts import PaddedPlusTail

from ...router_samples import SELECTING, layout, one_of_each, traits
from ..cases import DIM, IDS, bank_of, call, gradients, learnable, planned, router_of, rows_for

BANKS = ["mlp", "glu"]
LAYOUTS = one_of_each(layout)
KINDS = one_of_each(lambda name: (layout(name), traits(name).needs_ids))
EPS = torch.finfo(torch.float32).eps


def relative(got, wanted):
    got, wanted = got.detach().double(), wanted.detach().double()
    return (got - wanted).norm() / wanted.norm().clamp_min(1e-12)


def run(layer, x, autocast=False):
    """Output and gradients, those of the router too, and the routing."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y, routing = call(layer, x)
    return [y, *gradients(y, [x, *learnable(layer)])], routing


@pytest.mark.parametrize("num_experts", [4, 64])
@pytest.mark.parametrize("router", LAYOUTS)
@pytest.mark.parametrize("bank", BANKS)
def test_autocast_is_close_to_float32(bank, router, num_experts):
    layer = MoE(router_of(router, num_experts), bank_of(bank, num_experts))
    x = rows_for(layer.bank, 60)
    narrow, routing = run(layer, x, autocast=True)
    wide, wanted_routing = run(layer, x)
    assert torch.equal(routing.expert, wanted_routing.expert)  # gates run in float32
    for got, wanted in zip(narrow, wide, strict=True):
        assert got.dtype == torch.float32
        assert relative(got, wanted) < 2.5 * torch.finfo(torch.bfloat16).eps
        assert relative(got, wanted) > 0 or not wanted.any()  # no gradient of noise in eval


@pytest.mark.parametrize("num_experts", [4, 64])
@pytest.mark.parametrize("router", LAYOUTS)
@pytest.mark.parametrize("bank", BANKS)
def test_all_in_bfloat16_is_close_to_float64(bank, router, num_experts):
    layer = MoE(router_of(router, num_experts), bank_of(bank, num_experts)).to(torch.bfloat16)
    x = rows_for(layer.bank, 60).detach().to(torch.bfloat16).requires_grad_()
    narrow, routing = run(layer, x)
    exact = copy.deepcopy(layer).double()
    wide, wanted_routing = run(exact, x.detach().double().requires_grad_())
    assert torch.equal(routing.expert, wanted_routing.expert)
    for got, wanted in zip(narrow, wide, strict=True):
        assert got.dtype == torch.bfloat16
        assert got.isfinite().all()
        assert relative(got, wanted) < 6 * torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("bank", BANKS)
def test_tails_in_bfloat16_are_rounded(bank):
    """A kernel is built for each new number of rows."""
    layer = MoE(router_of("topk", 64), bank_of(bank, 64)).to(torch.bfloat16)
    with planned() as taken:
        run(layer, rows_for(layer.bank, 60).detach().to(torch.bfloat16).requires_grad_())
    assert isinstance(taken[0], PaddedPlusTail)
    assert all((end - first) % 16 == 0 for _, first, end in taken[0].tails)


def layer_in_training(router):
    """Everything that draws: noise, drops at random, experts left out, dropout within them."""
    return MoE(
        router_of(router),
        bank_of("glu", dropout=0.2),
        capacity=0.8,
        drop="random",
        expert_dropout=0.2,
    ).train()


@pytest.mark.parametrize("base", [None, 0, 8])
@pytest.mark.parametrize("router", SELECTING)
def test_recomputed_activations_are_the_same_to_the_bit(router, base):
    layer = layer_in_training(router)
    x = rows_for(layer.bank, 12)
    results = []
    with planned(base):
        for recompute in (False, True):
            torch.manual_seed(11)
            whole = (lambda x: call(layer, x)[0]) if recompute else None
            y = checkpoint(whole, x, use_reentrant=False) if recompute else call(layer, x)[0]
            y.square().sum().backward()
            results.append([y, x.grad, *(p.grad for p in learnable(layer))])
            layer.zero_grad(set_to_none=True)
            x.grad = None
    for plain, recomputed in zip(*results, strict=True):
        if plain is None:
            assert recomputed is None
        else:
            assert torch.equal(plain, recomputed)
    assert results[0][1].any()


@pytest.fixture
def compiler():
    """Compiled code of one test, which no other test may find."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("router", SELECTING)
def test_compiled_is_the_same(router):
    """Twice, for the second batch has other loads, and shapes that follow them; in training.

    The backend ``aot_eager`` also traces the backward pass of what ``eager`` captures.
    """
    layer = layer_in_training(router)
    compiled = torch.compile(layer, backend="aot_eager")
    for count in (12, 30):
        x = rows_for(layer.bank, count, seed=count)
        ids = torch.arange(count) % IDS
        results = []
        for made in (layer, compiled):
            torch.manual_seed(count)
            y, routing = made(x, ids=ids, task=ids % 2)
            results.append([y, *gradients(y, [x, *learnable(layer)])])
            assert routing.num_items == count
        for plain, got in zip(*results, strict=True):
            torch.testing.assert_close(got, plain, rtol=64 * EPS, atol=8 * EPS)


# dynamo looks at the gradients of all it meets, and hides the warning in its own way
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("router", KINDS)
def test_compiled_within_a_model(router):
    torch.manual_seed(0)
    layer = MoE(router_of(router), bank_of("glu"))
    model = torch.nn.ModuleList([torch.nn.Linear(DIM, DIM), layer])
    ids = torch.arange(15).view(3, 5)

    def run(x):
        return model[1](model[0](x).relu(), ids=ids)[0].sigmoid()

    x = torch.randn(3, 5, DIM).requires_grad_()
    inputs = [x, *learnable(model)]
    plain, compiled = run(x), torch.compile(run, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, plain, rtol=64 * EPS, atol=8 * EPS)
    for a, b in zip(gradients(compiled, inputs), gradients(plain, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=64 * EPS, atol=8 * EPS)
