"""Replay of recorded routes: outputs to the last bit, gates that learn, and what is refused."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import experts
import routers
from experts import MoE, MultiGateMoE, record, replay
from routers import ConfigError, Items, OptionError, Routing

from ...router_samples import SELECTING, is_sum, layout, traits

E = 8
#: Routers whose routes are assignments of items to experts.
ASSIGNING = [name for name in SELECTING if layout(name).isdisjoint({"Slots", "Merge"})]
IDS = torch.arange(24).view(2, 12) % 5
PADDED = torch.arange(24).view(2, 12) % 12 < torch.tensor([[7], [12]])


def layer_of(router, dtype=torch.float32, **settings):
    torch.manual_seed(0)
    routing = routers.build(router, 8, E)
    routing.prepare(torch.arange(20), torch.randn(20, 3))
    return MoE(routing, experts.build("mlp", 8, E), **settings).to(dtype)


def run(layer, x, mask=None):
    torch.manual_seed(1)
    return layer(x, mask=mask, ids=IDS, task=IDS % 2)


def random_input(dtype=torch.float32):
    return torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(2)).to(dtype)


class Pair(nn.Module):
    """Two layers one after the other."""

    def __init__(self, first, second, recomputed=False):
        super().__init__()
        self.first, self.second = first, second
        self.recomputed = recomputed

    def forward(self, x):
        both = lambda x: self.second(self.first(x)[0])[0]  # noqa: E731
        return checkpoint(both, x, use_reentrant=False) if self.recomputed else both(x)


@pytest.mark.parametrize("mask", [None, PADDED], ids=["whole", "padded"])
@pytest.mark.parametrize("drop", [None, "position", "random"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("router", ASSIGNING)
def test_outputs_are_those_recorded_to_the_last_bit(router, dtype, drop, mask):
    """In training, where noise and drops are drawn, and with a router that has changed since."""
    settings = {} if drop is None else {"capacity": 0.6, "drop": drop, "renormalize": True}
    if drop == "random":
        settings["expert_dropout"] = 0.3
    layer, x = layer_of(router, dtype, **settings), random_input(dtype)
    with record(layer) as routes, torch.no_grad():
        y, recorded = run(layer, x, mask)
    for parameter in layer.router.parameters():
        nn.init.normal_(parameter.data)
    torch.rand(7)
    with replay(layer, routes), torch.no_grad():
        again, routing = layer(x, mask=mask, ids=IDS, task=IDS % 2)
    assert torch.equal(again, y)
    for name in ("item", "expert", "weight", "requested_load", "load", "importance", "probs"):
        assert torch.equal(getattr(routing, name), getattr(recorded, name)), name
    if drop is not None and is_sum(router):
        assert len(routing.item) < int(routing.requested_load.sum()) or router == "depth"


def test_routes_of_several_gates():
    torch.manual_seed(0)
    gates = [routers.build(name, 8, E) for name in ("noisy_topk", "top_p")]
    layer = MultiGateMoE(gates, experts.build("mlp", 8, E), experts.mmoe(E, tasks=2), capacity=0.7)
    x = random_input().unsqueeze(0)
    with record(layer) as routes:
        y, _ = layer(x)
    for parameter in layer.router.parameters():
        nn.init.normal_(parameter.data)
    with replay(layer, routes):
        assert torch.equal(layer(x)[0], y)


@pytest.mark.parametrize("weighting", ["recorded", "renormalized"])
def test_routers_replay_the_routes_of_other_gates(weighting):
    torch.manual_seed(0)
    bank, x = experts.build("mlp", 8, E), random_input().unsqueeze(0)
    other = [routers.build(name, 8, E) for name in ("noisy_topk", "expert_choice")]
    own = [routers.build("replay", 8, E, weighting=weighting) for _ in other]
    source, layer = (MultiGateMoE(each, bank, experts.mmoe(E, tasks=2)) for each in (other, own))
    with record(source) as routes:
        y, of_source = source(x)
    with replay(layer, routes):
        again, routing = layer(x)
    assert torch.equal(routing.assigned_mask, of_source.assigned_mask)
    assert torch.equal(again, y) == (weighting == "recorded")
    source.capacity = 0.5
    with record(source) as dropped:
        source(x)
    with pytest.raises(ConfigError, match="record without capacity, skip"), replay(layer, dropped):
        layer(x)


def test_pass_by_pass_and_only_the_layers_that_are_named():
    model, x = Pair(layer_of("stochastic"), layer_of("stochastic")), random_input()
    with record(model) as routes:
        outputs = [model(each * x) for each in (1, 2)]
    with replay(model, routes):
        assert all(torch.equal(model(n * x), y) for n, y in zip((1, 2), outputs, strict=True))
    with replay(model, {"first": routes["first"]}), record(model) as now:
        model(x)
    assert torch.equal(now["first"][0].expert, routes["first"][0].expert)
    assert not torch.equal(now["second"][0].expert, routes["second"][0].expert)
    assert not any(each._forward_pre_hooks or each._forward_hooks for each in model.modules())


def test_nothing_more_is_skipped():
    layer, x = layer_of("soft_mixture", skip={"mass": 0.5}).eval(), random_input()
    with record(layer) as routes, torch.no_grad():
        y, recorded = layer(x)
    with replay(layer, routes), torch.no_grad():
        again, routing = layer(x)
    assert torch.equal(again, y)
    assert routing.num_assignments == recorded.num_assignments < 24 * E


@pytest.mark.parametrize(
    ("expert", "words"),
    [
        ([[0, E]], f"name expert {E}; experts are numbers in"),
        ([[0, -1]], "name expert -1"),
        ([[1, 1]], "an expert twice"),
    ],
)
def test_a_table_that_is_invalid(expert, words):
    expert = torch.tensor(expert).expand(24, 2)
    table = Routing.by_item(Items(torch.zeros(24, 8)), expert, torch.ones(24, 2), E)
    with pytest.raises(ConfigError, match=words), replay(layer_of("topk"), {"": [table]}):
        pass


def test_routes_of_another_number_of_gates():
    torch.manual_seed(0)
    bank, gates = experts.build("mlp", 8, E), [routers.build("topk", 8, E) for _ in range(2)]
    two, x = MultiGateMoE(gates, bank, experts.mmoe(E, tasks=2)), random_input()
    one = layer_of("topk")
    with record(two) as of_two, record(one) as of_one:
        two(x.unsqueeze(0))
        one(x)
    for layer, routes in ((one, of_two), (two, of_one)):
        with pytest.raises(ConfigError, match="gates, and the layer has"), replay(layer, routes):
            pass


def test_routes_of_a_table_in_another_type():
    layer, x = layer_of("topk", torch.float64), random_input(torch.float64)
    expert, weight = torch.randint(E, (24, 1)), torch.rand(24, 1)
    table = Routing.by_item(Items(torch.zeros(24, 8)), expert, weight, E)
    with replay(layer, {"": [table]}):
        y, routing = layer(x)
    each = [expert_output(layer, x, item, e) for item, e in enumerate(expert.flatten().tolist())]
    torch.testing.assert_close(y.view(24, 8), weight * torch.stack(each))
    assert routing.groups == 2


SCORED = [n for n in ASSIGNING if traits(n).learned and traits(n).has_logits and is_sum(n)]


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("name", [n for n in SCORED if "candidates" not in layout(n)])
def test_weights_by_scores_and_their_gradients(name, recomputed):
    """Against a slow sum over single assignments in float64, with a gate that has changed."""
    layer, x = layer_of(name, torch.float64, capacity=0.8), random_input(torch.float64)
    with record(layer) as routes, torch.no_grad():
        run(layer, x)
    layer.eval()
    for parameter in layer.router.parameters():
        parameter.data.mul_(-2)
    recorded, parameters = routes[""][0], [*layer.parameters()]
    several = bool((recorded.item.bincount() > 1).any())
    call = lambda x: run(layer, x)[0]  # noqa: E731
    with replay(layer, routes, weighting="renormalized" if several else "probability"):
        y = checkpoint(call, x, use_reentrant=False) if recomputed else call(x)
        found = torch.autograd.grad(y.square().sum(), parameters, materialize_grads=True)
    ids = IDS.flatten()
    given = {"ids": ids, "task": ids % 2, "projections": layer.bank.projections()}
    logits = layer.router(Items(x.view(24, 8), 2, **given)).logits
    rows = []
    for item in range(24):
        own = recorded.expert[recorded.item == item].tolist()
        among = own if several else range(E)
        total = sum(logits[item, expert].exp() for expert in among)
        parts = [logits[item, e].exp() / total * expert_output(layer, x, item, e) for e in own]
        rows.append(sum(parts, torch.zeros(8, dtype=x.dtype)))
    slow = torch.stack(rows)
    torch.testing.assert_close(y.view(24, 8), slow)
    wanted = torch.autograd.grad(slow.square().sum(), parameters, materialize_grads=True)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def expert_output(layer, x, item, expert):
    return layer.bank(x.view(24, 1, 8)[item], torch.eye(E, dtype=torch.int64)[expert])[0]


def test_replay_of_a_gate_that_has_not_changed_is_that_gate():
    layer, x = layer_of("topk"), random_input()
    with record(layer) as routes:
        y, _ = layer(x)
        y.square().sum().backward()
    before, layer.router.gate.weight.grad = layer.router.gate.weight.grad, None
    with replay(layer, routes, weighting="renormalized"):
        again, _ = layer(x)
        again.square().sum().backward()
    torch.testing.assert_close(again, y)
    torch.testing.assert_close(layer.router.gate.weight.grad, before)


def test_a_second_pass_before_backward_and_one_too_many():
    model, x = Pair(layer_of("topk"), layer_of("topk"), recomputed=True), random_input()
    with record(model) as routes:
        model(x)
    with replay(model, routes):
        model(x).sum().backward()
        with pytest.raises(ConfigError, match=r"layer 'first': pass 2 has no recorded routes"):
            model(x)


@pytest.mark.parametrize(
    ("router", "source", "message"),
    [
        ("topk", layer_of("soft_moe"), r"layer '': the recorded routes are through slots"),
        ("topk", layer_of("merged"), r"are through merge, which"),
        (
            "topk",
            MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4)),
            r"layer '': the recorded routes are to 4 experts, and the layer has 8",
        ),
    ],
    ids=["slots", "merged", "experts"],
)
def test_routes_that_do_not_fit(router, source, message):
    with record(source) as routes:
        source(random_input())
    layer = layer_of(router)
    with pytest.raises(ConfigError, match=message), replay(layer, routes):
        pass
    assert not layer.router._forward_pre_hooks


def test_what_cannot_work_is_refused():
    layer, single, x = layer_of("topk"), layer_of("hash"), random_input()
    own = MoE(routers.build("replay", 8, E), experts.build("mlp", 8, E))
    with record(layer) as routes, record(single) as one_each:
        layer(x)
        run(single, x)
    no_pair = "no item of the recorded routes has two"
    for message, model, given, options in (
        ("routes=frist: unknown", layer, {"frist": []}, {}),
        ("weighting=gate: unknown", layer, routes, {"weighting": "gate"}),
        (no_pair, layer, one_each, {"weighting": "renormalized"}),
        (no_pair, own, one_each, {}),
    ):
        with pytest.raises(OptionError, match=message), replay(model, given, **options):
            pass
    with pytest.raises(ConfigError, match="24 items: expected N=12"), replay(layer, routes):
        layer(x[:1])
    probability = {"weighting": "probability"}
    with pytest.raises(ConfigError, match="Hash has none"), replay(single, routes, **probability):
        run(single, x)
    with pytest.raises(ConfigError, match=r"needs recorded routes.*experts\.replay"):
        own(x)
