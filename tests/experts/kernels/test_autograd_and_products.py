"""What a layer costs, counted: steps of autograd, and the operations of matrix products."""

import pytest
import torch

import experts
import routers
from experts import MoE, mix
from experts.kernels.layouts import PaddedPlusTail, Ragged
from routers import Items, Routing

from ...router_samples import is_sum, layout, one_of_each
from ..cases import bank_of, graph_nodes, planned

DIM, HIDDEN, N = 8, 16, 256

#: One of each layout in which nothing was left out, all experts are scored and outputs summed.
SUMS = one_of_each(
    layout, lambda name: layout(name) and is_sum(name) and "candidates" not in layout(name)
)


def layer_of(num_experts, router="topk", bank="mlp", hidden=HIDDEN, **options):
    torch.manual_seed(0)
    router = routers.build(router, DIM, num_experts, **options)
    return MoE(router, bank_of(bank, num_experts, DIM, hidden=hidden))


def input_of(n=N):
    return torch.randn(n, DIM, generator=torch.Generator().manual_seed(1)).requires_grad_()


def nodes_of(num_experts, base=None, **options):
    with planned(base):
        return sorted(graph_nodes(layer_of(num_experts, **options)(input_of())[0]))


@pytest.mark.parametrize("base", [None, 0, 8])
@pytest.mark.parametrize("bank", ["mlp", "glu"])
@pytest.mark.parametrize("router", SUMS)
def test_the_graph_is_the_same_for_any_number_of_experts(router, bank, base):
    """Indexing a stacked weight once per expert makes the backward pass quadratic in ``E``.

    From 16 to 255: below, a softmax is turned over, and above, the gate has a separate step.
    """
    few, many = (nodes_of(e, base, router=router, bank=bank) for e in (16, 255))
    assert few == many
    assert not [name for name in many if name.startswith(("Select", "Index", "Split", "Unbind"))]


@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_as_many_steps_for_4_experts_as_for_256(bank):
    """At 256 the gate's own step takes the place of a gather from a product."""
    assert len(nodes_of(256, bank=bank)) <= len(nodes_of(4, bank=bank))


def both_ways(layer, x):
    """FLOPs of a forward and a backward pass that asks for all gradients."""
    return experts.count_flops(lambda: layer(x)[0].sum().backward())


@pytest.mark.parametrize("num_experts", [4, 64, 256])
@pytest.mark.parametrize("hidden", [16, 7])  # with the grouped kernel and without
@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_forward_and_backward_are_three_times_the_useful_work(bank, hidden, num_experts):
    layer, x = layer_of(num_experts, bank=bank, hidden=hidden), input_of()
    with planned(0) as taken:
        total = both_ways(layer, x)
    assert [type(layout) for layout in taken] == [Ragged]
    load = layer.router(Items(x)).load.tolist()
    useful = layer.expert_flops(load, N, (DIM,))
    assert useful == 2 * N * layer.bank.flops((DIM,))[0]
    # from 256 on the gate's gradient is two sparse sums, which are no products
    gate = 2 * N * DIM * num_experts * (3 if num_experts < 256 else 1)
    assert total == 3 * useful + gate


@pytest.mark.parametrize("hidden", [16, 7])
def test_expert_choice_pads_nothing(hidden):
    layer, x = layer_of(64, "expert_choice", hidden=hidden), input_of()
    useful = 2 * N * layer.bank.flops((DIM,))[0]
    assert both_ways(layer, x) == 3 * useful + 3 * 2 * N * DIM * 64


@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_frozen_experts_cost_no_gradient_of_theirs(bank):
    layer, x = layer_of(64, bank=bank), input_of()
    layer.requires_grad_(False)
    with planned(0):
        assert both_ways(layer, x) == 2 * (2 * N * layer.bank.flops((DIM,))[0] + 2 * N * DIM * 64)


def padded(n, k, num_experts, width, skew=0.0):
    """FLOPs that ran in both passes, by those of the assignments alone; layout and load."""
    torch.manual_seed(0)
    bank = bank_of("mlp", num_experts, width, hidden=width)
    x = torch.randn(n, width).requires_grad_()
    favour = skew * torch.arange(num_experts).log1p()
    scores = -torch.empty(n, num_experts).exponential_().log() - favour
    routing = Routing.by_item(Items(x), scores.topk(k).indices, torch.rand(n, k), num_experts)
    with planned() as taken:
        ran = experts.count_flops(lambda: mix(x, routing, bank).sum().backward())
    return ran / (3 * n * k * bank.flops((width,))[0]), taken[0], routing.load


def test_padding_of_a_balanced_load_is_bounded():
    """A mean load of 16 spreads by 4, so the largest of 1024 is near 32: one batch holds them.

    That is twice the useful work, of 4 us for each row of all; each call it saves is 1.5 us.
    """
    ratio, layout, load = padded(4096, 4, 1024, 16)
    assert isinstance(layout, PaddedPlusTail)
    assert len(layout.tails) < 10
    assert load.max() > 28
    assert 1.0 < ratio < 2.05


def test_padding_of_a_skewed_load_is_bounded():
    """The busiest have separate tails: all padded to the largest would be 70 times as much."""
    ratio, layout, load = padded(4096, 4, 1024, 16, skew=1.0)
    assert load.max() > 70 * load.double().mean()
    assert len(layout.tails) > 10
    assert 1.0 < ratio < 4.5


def test_work_that_is_worth_a_call_is_not_padded():
    ratio, layout, _ = padded(512, 2, 32, 256)
    assert isinstance(layout, Ragged)
    assert ratio == 1.0
