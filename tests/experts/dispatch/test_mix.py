"""The engine equals the reference: outputs, and gradients to items, routers and experts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import experts
from experts import mix, mix_reference
from routers import Items, Routing
from routers.routing import DROP_ORDERS

from ...router_samples import SELECTING, layout, one_of_each
from ..cases import (
    DIM,
    EXPERTS,
    bank_of,
    banks_with,
    gradients,
    items_for,
    learnable,
    router_of,
    routing_of,
    rows_for,
    same,
    suits,
)

pytestmark = pytest.mark.usefixtures("double")

#: One of each layout of which single assignments can be left out.
DIVISIBLE = one_of_each(layout, lambda name: layout(name).isdisjoint({"Slots", "Merge"}))


def compare(x, routing, bank, inputs, mask=None):
    fast, slow = (engine(x, routing, bank, mask) for engine in (mix, mix_reference))
    same(fast, slow)
    for a, b in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
        same(a, b)
    return fast


LAYOUTS = one_of_each(layout)

#: One router of each layout with every bank, the others with a third of the banks in turn.
PAIRS = [
    (router, bank)
    for first, router in enumerate(SELECTING)
    for place, bank in enumerate(experts.available())
    if suits(router, bank) and (router in LAYOUTS or (first + place) % 3 == 0)
]


@pytest.mark.parametrize(("router", "bank"), PAIRS)
def test_every_router_with_banks(router, bank):
    router, bank = router_of(router), bank_of(bank)
    x = rows_for(bank, 6)
    compare(x, router(items_for(bank, x)), bank, [x, *learnable(router, bank)])


@pytest.mark.parametrize("router", SELECTING)
def test_padded_items_get_nothing(router):
    router, bank = router_of(router), bank_of("mlp")
    x = rows_for(bank, 6)
    mask = torch.tensor([True, True, False, False, False, False])  # the second group: padding only
    y = compare(x, router(items_for(bank, x, mask)), bank, [x, *learnable(router, bank)])
    assert not y[..., ~mask, :].any()


@pytest.mark.parametrize("router", LAYOUTS)
@pytest.mark.parametrize("bank", banks_with(2))
def test_padding_inside_sequences(router, bank):
    router, bank = router_of(router), bank_of(bank)
    x = rows_for(bank, 6)
    mask = torch.arange(5) < torch.tensor([[5], [3], [1], [4], [0], [5]])
    items = items_for(bank, x, mask.any(1), mask)
    y = compare(x, router(items), bank, [x, *learnable(router, bank)], mask)
    assert not y[~mask].any()


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("order", DROP_ORDERS)
@pytest.mark.parametrize("router", DIVISIBLE)
def test_after_drops(router, order, renormalize):
    router, bank = router_of(router), bank_of("glu")
    x = rows_for(bank, 9)
    routing = router(items_for(bank, x)).limit(0.4, order, renormalize=renormalize)
    assert routing.num_assignments < routing.requested_load.sum()
    compare(x, routing, bank, [x, *learnable(router, bank)])


SHAPES = {
    "no item": ([], 0),
    "no assignment": ([], 3),
    "one item": ([(0, 2)], 1),
    "all to one expert": ([(0, 1), (1, 1), (2, 1), (3, 1)], 4),
    "an item without an expert": ([(0, 3), (2, 0)], 3),
    "the same pair twice": ([(1, 2), (0, 0), (1, 2)], 2),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bank", experts.available())
def test_odd_graphs(bank, shape):
    pairs, num_items = SHAPES[shape]
    bank = bank_of(bank)
    x = rows_for(bank, num_items)
    weight = torch.linspace(-1, 1, len(pairs)).requires_grad_()
    y = compare(x, routing_of(pairs, weight, num_items), bank, [x, weight, *learnable(bank)])
    assert y.shape == x.shape


@pytest.mark.parametrize("bank", experts.available())
def test_several_tasks(bank):
    bank = bank_of(bank)
    x = rows_for(bank, 3)
    weight = torch.randn(5, 2).requires_grad_()
    routing = routing_of([(0, 1), (0, 3), (2, 3), (1, 0), (2, 1)], weight, 3)
    y = compare(x, routing, bank, [x, weight, *learnable(bank)])
    alone = mix(x, routing_of([(0, 1), (0, 3), (2, 3), (1, 0), (2, 1)], weight[:, 1], 3), bank)
    assert y.shape == (2, *x.shape)
    same(y[1], alone)


@pytest.mark.usefixtures("unpadded")
def test_several_tasks_run_the_experts_once():
    bank = bank_of("mlp")
    x = rows_for(bank, 3)
    routing = routing_of([(0, 1), (1, 2)], torch.ones(2, 7), 3)
    assert experts.count_flops(lambda: mix(x, routing, bank)) == 2 * bank.flops((DIM,))[0]


def _by_item(items, choice, weight):
    return Routing.by_item(items, choice, weight, EXPERTS)


def _by_mask(items, choice, weight):
    grid = torch.zeros(len(items), EXPERTS).scatter(1, choice, weight)
    return Routing.by_mask(items, grid, keep=grid != 0)


def _by_expert(items, choice, weight):
    places = choice.new_tensor(range(EXPERTS)).unsqueeze(1) + choice[:, 0]
    return Routing.by_expert(items, places % len(items), weight[:, 0].expand(EXPERTS, -1))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 12),
    k=st.integers(1, EXPERTS),
    build=st.sampled_from([_by_item, _by_mask, _by_expert]),
    padded=st.booleans(),
    skew=st.sampled_from([0.0, 5.0]),
    seed=st.integers(0, 99),
)
def test_any_routing(n, k, build, padded, skew, seed):
    bank = bank_of("mlp", hidden=3)
    x = rows_for(bank, n, seed)
    torch.manual_seed(seed)
    mask = torch.rand(n) < 0.7 if padded else None
    scores = torch.randn(n, EXPERTS) - skew * torch.arange(EXPERTS)
    weight = torch.randn(n, k).requires_grad_()
    routing = build(Items(x.detach(), mask=mask), scores.topk(k).indices, weight)
    compare(x, routing, bank, [x, weight, *learnable(bank)])


def test_counts_must_agree():
    bank = bank_of("mlp")
    with pytest.raises(ValueError, match="x has 4 items, the routing 3"):
        mix(torch.zeros(4, DIM), routing_of([(0, 1)], torch.ones(1), 3), bank)


def test_result_keeps_the_dtype_of_x():
    bank = bank_of("mlp").to(torch.bfloat16)
    x = torch.randn(3, DIM).to(torch.bfloat16)
    y = mix(x, routing_of([(0, 1), (1, 1)], torch.ones(2), 3), bank)
    assert y.dtype == torch.bfloat16


class Louder(experts.EXPERTS["mlp"]):
    """A bank that inherits a way around ``forward``, and overrides ``forward``."""

    def forward(self, rows, load, mask=None):
        return 10 * super().forward(rows, load, mask)


def test_a_forward_of_ones_own_is_used():
    torch.manual_seed(0)
    bank = Louder(DIM, EXPERTS)
    x = rows_for(bank, 6)
    routing = router_of("topk")(items_for(bank, x))
    y = compare(x, routing, bank, [x, *learnable(bank)])
    plain = bank_of("mlp")
    plain.load_state_dict(bank.state_dict())
    same(y, 10 * mix(x, routing, plain))


@pytest.mark.parametrize("bank", experts.available())
def test_hooks_see_the_rows(bank):
    bank = bank_of(bank)
    x = rows_for(bank, 6)
    routing = router_of("topk")(items_for(bank, x))
    expected, seen = mix(x, routing, bank), []
    handle = bank.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    same(mix(x, routing, bank), expected)
    handle.remove()
    mix(x, routing, bank)
    assert seen == [12]


class Doubling:
    """A mixin over any bank."""

    def forward(self, rows, load, mask=None):
        return 2 * super().forward(rows, load, mask)


class Doubled(Doubling, experts.EXPERTS["mlp"]):
    pass


def test_a_mixin_is_used():
    torch.manual_seed(0)
    bank = Doubled(DIM, EXPERTS)
    x = rows_for(bank, 6)
    compare(x, router_of("topk")(items_for(bank, x)), bank, [x, *learnable(bank)])


def test_a_forward_put_in_place_is_used():
    bank = bank_of("mlp")
    x = rows_for(bank, 6)
    routing = router_of("topk")(items_for(bank, x))
    expected, original = mix(x, routing, bank), bank.forward
    bank.forward = lambda rows, load, mask=None: 3 * original(rows, load, mask)
    same(mix(x, routing, bank), 3 * expected)


def _all(items, weight):
    return Routing.by_mask(items, weight)


@pytest.mark.parametrize("build", [_by_item, _by_expert, _all])
def test_backward_under_autocast_of_a_forward_outside_it(build):
    torch.set_default_dtype(torch.float32)
    bank = bank_of("mlp")
    x = rows_for(bank, 6)
    given = (torch.randn(6, EXPERTS),)
    if build is not _all:
        given = (torch.randn(6, EXPERTS).topk(2).indices, torch.randn(6, 2))
    y = mix(x, build(Items(x.detach()), *given), bank)
    inputs = [x, *learnable(bank)]
    plain = torch.autograd.grad(y.sum(), inputs, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        under = torch.autograd.grad(y.sum(), inputs)
    for a, b in zip(under, plain, strict=True):
        torch.testing.assert_close(a, b)
