"""Rounds over one bank, and parts of items, against loops over plain layers."""

from functools import partial

import pytest
import torch

import experts
import routers
from experts import Adaptation, MoE, RoundsMoE, SubTokenMoE, skip_experts
from routers import LOSSES, ConfigError

D, E = 6, 4
REAL = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()


def rounds_of(number=3, router="topk", shared=True, options=(), **settings):
    torch.manual_seed(0)
    built = [routers.build(router, D, E, **dict(options)) for _ in range(number)]
    bank = experts.build("mlp", D, E, hidden=5)
    one = experts.build("mlp", D, 1, hidden=5) if shared else None
    return RoundsMoE(built, bank, shared=one, **settings).double()


def same(one, other, inputs):
    torch.testing.assert_close(one, other)
    pairs = (torch.autograd.grad(z.square().sum(), inputs, retain_graph=True) for z in (one, other))
    for left, right in zip(*pairs, strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("router", ["topk", "soft_mixture", "expert_choice", "product_key"])
def test_rounds(router):
    layer = rounds_of(router=router, capacity=0.8, keep_outputs=True)
    x = torch.randn(2, 5, D, dtype=torch.float64, requires_grad=True)
    y, routing = layer(x, mask=REAL)
    inner, single = x, []
    for own in layer.router.rounds:
        update, route = MoE(own, layer.bank, shared=layer.shared, capacity=0.8)(inner, mask=REAL)
        inner = inner + update
        single.append(route)
    same(y, inner - x, [x, *layer.parameters()])
    assert routing.load.equal(sum(each.load for each in single))
    assert routing.requested_load.equal(sum(each.requested_load for each in single))
    torch.testing.assert_close(routing.importance, sum(each.importance for each in single))
    probs = [each.to_dense(each.probs) for each in single]
    torch.testing.assert_close(routing.to_dense(routing.probs), torch.stack(probs).mean(0))
    assert len(routing.outputs) == routing.num_assignments
    if router == "topk":
        z = torch.stack([LOSSES["z"](each) for each in single]).mean()
        torch.testing.assert_close(LOSSES["z"](routing), z)
        one = rounds_of(1)
        plain = MoE(one.router.rounds[0], one.bank, shared=one.shared)
        torch.testing.assert_close(one(x)[0], plain(x)[0])


def test_padding_tasks_and_shared_routers():
    layer, task = rounds_of(2), torch.arange(10).view(2, 5) % 2
    x = torch.randn(2, 5, D, dtype=torch.float64)
    nan = torch.where(REAL.unsqueeze(-1), x, torch.nan)
    y, routing = layer(nan, mask=REAL, task=task)
    assert y.isfinite().all()
    assert not y[~REAL].any()
    assert routing.task.equal(task.flatten())
    assert parts_of()(x, task=task)[1].task.equal(task.flatten())
    same_routers = rounds_of(2).router.shared_with(layer.router)
    assert same_routers is layer.router
    states = rounds_of(2, "recurrent").router
    own = rounds_of(2, "recurrent").router
    assert own.shared_with(states) is own
    pairs = list(zip(own.each(), states.each(), strict=True))
    assert all(one.gru is other.gru and one.gate is not other.gate for one, other in pairs)
    with pytest.raises(ConfigError, match="differ in their rounds"):
        rounds_of(3).router.shared_with(layer.router)
    with pytest.raises(ConfigError, match="one router twice would adapt twice"):
        RoundsMoE([layer.each_router[0]] * 2, layer.bank)
    for each in (layer, parts_of()):
        with experts.record(each) as routes:
            each(x)
        with pytest.raises(ConfigError, match="several rounds or parts"):
            experts.replay(each, routes).__enter__()


def test_flops_and_parameters():
    layer, x = rounds_of(), torch.randn(2, 5, D, dtype=torch.float64)
    routing = layer(x)[1]
    counted = experts.count_flops(partial(layer, x))
    with skip_experts([layer]):
        outside = experts.count_flops(partial(layer, x))
    assert outside == 3 * 10 * 2 * D * E
    of_routers = experts.count_flops_of(layer.each_router, partial(layer, x))
    assert of_routers == outside
    assert outside + layer.expert_flops(routing.load.tolist(), 10, (D,)) == counted
    number = sum(p.numel() for p in layer.parameters())
    assert number == 3 * D * E + 5 * 2 * D * 5  # three gates, four experts and a shared one
    taken = experts.take_experts(layer, [2, 0])
    assert taken.router.num_experts == 2
    assert taken(x)[1].load.sum() == 3 * 10 * 2


def test_each_round_adapts_to_its_own_load():
    layer = rounds_of(2, "sigmoid", options={"rate": 0.5}.items()).train()
    x = torch.randn(4, 5, D, dtype=torch.float64)
    adaptation = Adaptation([layer.router])
    routing = layer(x)[1]
    adaptation.observe([routing])
    load = adaptation.finish_step()
    assert load[0].tolist() == routing.load.tolist()
    for router, own in zip(layer.router.rounds, routing.gates, strict=True):
        alone = routers.build("sigmoid", D, E, rate=0.5)
        alone.adapt(own.load)
        torch.testing.assert_close(router.bias.value, alone.bias.value.double(), check_dtype=False)


def parts_of(router="topk", heads=3, **settings):
    torch.manual_seed(0)
    shared = experts.build("mlp", 2, 1, hidden=5)
    parts = routers.build(router, 2, E), experts.build("mlp", 2, E, hidden=5)
    return SubTokenMoE(*parts, heads=heads, shared=shared, **settings).double()


@pytest.mark.parametrize("router", ["topk", "soft_mixture", "expert_choice", "hash"])
def test_parts_of_items(router):
    layer = parts_of(router, capacity=0.9)
    layer.router.prepare(torch.arange(10), torch.randn(10, 2))
    x = torch.randn(2, 5, D, dtype=torch.float64, requires_grad=True)
    ids, nan = torch.arange(10).view(2, 5), torch.where(REAL.unsqueeze(-1), x, torch.nan)
    y, routing = layer(nan, mask=REAL, ids=ids)
    parts = ((x * REAL.unsqueeze(-1)) @ layer.split.weight.t()).unflatten(-1, (3, 2)).flatten(1, 2)
    mask, ids = (each.repeat_interleave(3, 1) for each in (REAL, ids))
    inner = MoE(layer.router, layer.bank, shared=layer.shared, capacity=0.9)
    out, single = inner(parts, mask=mask, ids=ids)
    same(y, out.reshape(2, 5, D) @ layer.merge.weight.t(), [x, *layer.parameters()])
    assert not y[~REAL].any()
    assert (routing.num_items, routing.num_real) == (10, 8)
    assert routing.load.equal(single.load)
    assert routing.requested_load.equal(single.requested_load)
    assert routing.item.equal(single.item // 3)
    torch.testing.assert_close(routing.probs, single.probs.view(10, 3, E).mean(1))
    layer(x, ids=torch.arange(10).view(2, 5), earlier=[routing])


def test_flops_of_parts():
    layer, x = parts_of(), torch.randn(2, 5, D, dtype=torch.float64)
    routing = layer(x)[1]
    counted = experts.count_flops(partial(layer, x))
    router = experts.count_flops_of([layer.router], partial(layer, x))
    assert counted == layer.flops(routing, (2,)) + router
    with skip_experts([layer]) as [idle]:
        outside = experts.count_flops(partial(layer, x))
    assert outside == 30 * 2 * 2 * E + 10 * 4 * D * D
    assert outside + layer.expert_flops(routing.load.tolist(), 10, idle.row_shape) == counted


@pytest.mark.parametrize("layer", [rounds_of, parts_of])
def test_routings_without_assignments_are_refused(layer):
    with pytest.raises(ConfigError, match=r"is through slots, .* have no sum; use a router that"):
        layer(router="soft_moe")(torch.randn(2, 5, D, dtype=torch.float64))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rounds_of(0), "rounds: expected routers of one size, got none"),
        (
            lambda: RoundsMoE(
                [routers.build("topk", D, e) for e in (3, 4)], experts.build("mlp", D, 4)
            ),
            "rounds: expected routers of one size, got dim=6 num_experts=3, dim=6 num_experts=4",
        ),
        (lambda: parts_of(heads=0), "heads=0 is invalid"),
        (
            lambda: SubTokenMoE(routers.build("topk", 2, E), experts.build("gru", 2, E), heads=3),
            r"rows of GRU are \(L, D\); use experts of tokens",
        ),
    ],
)
def test_layers_that_cannot_be(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
