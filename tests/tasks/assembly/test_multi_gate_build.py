"""A backbone asks for a layer with several gates, and gets it, or a dense one of equal cost."""

from functools import partial

import pytest
import torch
from torch import nn

import routers
from experts import Bank, MoE, MultiGateMoE, cgc, cgc_shared, mmoe, views
from routers import ConfigError, Items
from tasks import (
    Backbone,
    Score,
    Task,
    build_backbone,
    build_control,
    compose,
    prepare_routers,
    routed_layers,
)
from tasks.assembly.dense_control import CONTROLS, iso_flop, num_parameters

from ...router_samples import SELECTING, joins, layout, one_of_each, with_routes

DIM, ITEMS = 8, 12
WIRINGS = {
    "mmoe": partial(mmoe, tasks=2),
    "cgc": partial(cgc, tasks=2, shared=2),
    "cgc_shared": partial(cgc_shared, tasks=2, shared=2),
    "views": partial(views, num_views=2, tasks=2),
}


class Net(Backbone):
    """Two layers of the same wiring on copies of the input, their outputs averaged."""

    def __init__(self, layer, wiring):
        super().__init__()
        self.layers = nn.ModuleList([layer((DIM,), wiring), layer((DIM,), wiring)])

    def forward(self, batch):
        routings, x = [], batch["x"]
        for layer in self.layers:
            streams = torch.stack([x * (s + 1) for s in range(layer.topology.streams)])
            y, routing = layer(streams, ids=batch.get("ids"), task=batch.get("task"))
            x = x + y.mean(0)
            routings.append(routing)
        return x, routings


class Toy(Task):
    """Vectors with ids and tasks."""

    score = Score("loss", "minimize")
    has_ids = True
    has_tasks = True

    def __init__(self, wiring):
        self.wiring = wiring

    def data(self):
        raise NotImplementedError

    def backbone(self, layer):
        return Net(layer, self.wiring)

    def loss(self, output, batch):
        return output.square().mean()

    def measures(self):
        return {}


class Nameless(Toy):
    """The task of a sample is unknown."""

    has_tasks = False


def batch():
    generator = torch.Generator().manual_seed(0)
    ids = torch.arange(ITEMS)
    x = torch.randn(ITEMS, DIM, generator=generator)
    return {"x": x, "y": ids, "ids": ids, "task": ids % 2}


def config_of(*overrides):
    return compose(["expert.hidden=16", "moe.num_experts=6", *overrides])


def built(wiring, *overrides, task=Toy):
    return build_backbone(config_of(*overrides), task(WIRINGS[wiring]))


def blends(router):
    two = torch.arange(2)
    items = with_routes(Items(torch.zeros(2, DIM), ids=two, task=two), 4)
    routing = routers.build(router, DIM, 4)(items)
    return routing.execution is not None


#: Every router with gates that share all experts, one of each layout with the other wirings.
PAIRS = [
    (wiring, router)
    for wiring in WIRINGS
    for router in (filter(joins, SELECTING) if wiring == "mmoe" else one_of_each(layout, joins))
]


@pytest.mark.parametrize(("wiring", "router"), PAIRS)
def test_every_router_is_a_gate(wiring, router):
    task = Toy(WIRINGS[wiring])
    grouped = "expert_groups" in routers.ROUTERS.options(router)
    groups = ["router.expert_groups=2"] if grouped else []  # of the 4 or 6 experts of a gate
    net = build_backbone(config_of(f"router={router}", *groups), task)
    prepare_routers(net, task, batch())
    for layer in routed_layers(net):
        assert isinstance(layer, MultiGateMoE)
        kind = routers.ROUTERS.get_part(router)
        assert [type(gate) for gate in layer.router.gates] == [kind] * layer.num_gates
    if blends(router) and wiring != "mmoe":
        with pytest.raises(ConfigError, match="fits only where all gates and experts use one"):
            net(batch())
        return
    y, routings = net(batch())
    assert y.shape == (ITEMS, DIM)
    assert [routing.num_experts for routing in routings] == [6, 6]
    y.square().mean().backward()
    for name, p in net.named_parameters():
        assert p.grad is None or p.grad.isfinite().all(), name


def test_a_seed_draws_every_gate_and_layer_anew():
    one, other = built("mmoe", "seed=1"), built("mmoe", "seed=1")
    for left, right in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)
    weights = [
        next(gate.parameters()) for layer in routed_layers(one) for gate in layer.router.gates
    ]
    assert len(weights) == 4
    for i, left in enumerate(weights):
        for right in weights[:i]:
            assert not torch.equal(left, right)


def test_settings_reach_the_layer():
    settings = ["moe.capacity=0.5", "moe.drop=probability", "moe.renormalize=true"]
    settings += ["moe.rounding=floor"]
    for layer in routed_layers(built("cgc", "moe.shared=1", "moe.expert_dropout=0.1", *settings)):
        assert (layer.capacity, layer.drop, layer.renormalize) == (0.5, "probability", True)
        assert layer.rounding == "floor"
        assert (layer.shared.num_experts, layer.expert_dropout) == (1, 0.1)


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_dense_layer_costs_the_same(wiring, control):
    config = config_of(f"moe.control={control}", "router.k=2")
    task, given = Toy(WIRINGS[wiring]), batch()
    net = build_backbone(config, task)
    dense = build_control(config, task, net, given)
    for one, other in zip(routed_layers(net), routed_layers(dense), strict=True):
        assert (other.bank.num_experts, other.num_gates) == (1, one.num_gates)
        streams = torch.randn(one.topology.streams, ITEMS, DIM)
        y, routing = other(streams)
        assert routing.load.tolist() == [ITEMS]  # once for all gates: a shared bottom
        assert torch.equal(y, y[:1].expand_as(y))
    costs = {
        "iso_flop": lambda net: sum(iso_flop(*pair) for pair in calls_of(net, given)),
        "iso_parameter": num_parameters,
    }
    assert costs[control](dense) == pytest.approx(costs[control](net), rel=0.05)


def calls_of(net, given):
    """Each layer with what it is called with."""
    pairs = []
    for layer in routed_layers(net.eval()):
        layer.register_forward_pre_hook(
            lambda layer, *call: pairs.append((layer, call)), with_kwargs=True
        )
    with torch.no_grad():
        net(given)
    return list(pairs)


@pytest.mark.parametrize(
    ("wiring", "overrides", "message"),
    [
        ("cgc", ["moe.num_experts=5"], r"moe\.num_experts=5 is invalid: expected 4, 6, 8"),
        (
            "views",
            ["moe.num_experts=3"],
            r"moe\.num_experts=3 is invalid: expected a multiple of 2",
        ),
        ("cgc", ["moe.num_experts=4", "router.k=4"], r"k=4 is invalid: expected .*3"),
        ("mmoe", ["expert=gru"], r"rows are \(L, D\), but this model gives samples of shape \(8,"),
        ("mmoe", ["expert=conv"], r"rows are \(D, H, W\), but task\.model=vit"),
    ],
)
def test_what_does_not_fit_is_named(wiring, overrides, message):
    with pytest.raises(ConfigError, match=message):
        built(wiring, *overrides)


def test_mapped_needs_a_task_that_names_tasks():
    with pytest.raises(ConfigError, match="router=mapped: needs the task, language or domain"):
        built("mmoe", "router=mapped", task=Nameless)
    built("mmoe", "router=hash", task=Nameless)


def test_a_plain_layer_is_as_before():
    class Plain(Toy):
        def backbone(self, layer):
            return nn.Sequential(layer((DIM,)))

    (layer,) = routed_layers(build_backbone(config_of(), Plain(None)))
    assert type(layer) is MoE
    assert isinstance(layer.bank, Bank)
    assert layer.num_gates == 1
