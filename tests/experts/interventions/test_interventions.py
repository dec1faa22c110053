"""Interventions against slow references: for every router, form of execution and kind of rows."""

from copy import deepcopy
from functools import partial

import pytest
import torch

import experts
import routers
from experts import INTERVENTIONS, MoE, MultiGateMoE, drop_experts, intervene, take_experts
from routers import ConfigError
from routers.routing import Combine, Merge, Slots

from ...router_samples import SELECTING
from ..cases import DIM, EXPERTS, bank_of, call, router_of, rows_for, same

pytestmark = pytest.mark.usefixtures("double")

#: Routers that cannot do without an expert, with the reason.
UNCLEAR = dict.fromkeys(
    ["dselect_k", "hierarchical", "mapped", "product_key", "soft_mapped"], "is unclear"
)
REFUSED = {**UNCLEAR, "grouped_topk": "expert_groups=4 is invalid"}


def layer_of(router, bank="mlp", **settings):
    """A layer of float64 with random state."""
    layer = MoE(router_of(router), bank_of(bank), **settings).double().eval()
    generator = torch.Generator().manual_seed(5)
    for values in [*layer.parameters(), *layer.router.buffers()]:
        if values.is_floating_point() and values.dim():
            values.data += 0.1 * torch.randn(values.shape, generator=generator).to(values.dtype)
    return layer


def gates_of(topology, router="topk"):
    """A layer with several gates."""
    torch.manual_seed(0)
    gates = [routers.build(router, DIM, len(b.experts)) for b in topology.branches]
    return MultiGateMoE(gates, bank_of("mlp", topology.num_experts), topology).double().eval()


def items(layer, count=24):
    x = rows_for(layer.bank, count).detach()
    return x.view(2, count // 2, DIM) if len(layer.bank.row_axes) == 1 else x


def run(layer, x, name=None, target=None):
    """Output and routing, with an intervention that has seen the same data."""
    route = layer if isinstance(layer, MultiGateMoE) else partial(call, layer)
    with torch.no_grad():
        if name is None:
            return route(x)
        intervention = INTERVENTIONS.build(name, layer)
        with intervention.observe():
            route(x)
        with intervention.apply(target):
            return route(x)


def without(layer, expert):
    """The layer with an expert of zero outputs: its parameters are 0, but what routers read."""
    twin = deepcopy(layer)
    read = 1 if twin.router.traits.needs_projections else 0
    for values in list(twin.bank.parameters_of(expert))[read:]:
        values.data.zero_()
    if isinstance(twin.router, routers.ROUTERS["default_topk"]):
        twin.router.outputs.value[expert] = 0
    return twin


def form(layer, x):
    return type(run(layer, x)[1].execution)


def traces(layer):
    """What an intervention could leave behind."""
    hooks = [hook for each in layer.modules() for hook in each._forward_hooks.values()]
    return hooks, [*layer.changes], {name: v.clone() for name, v in layer.state_dict().items()}


def assert_as_before(layer, before):
    hooks, changes, state = traces(layer)
    assert (hooks, changes) == before[:2] == ([], [])
    assert all(value.equal(before[2][name]) for name, value in state.items())


# ---- drop ----


@pytest.mark.parametrize(
    "drops", [{}, {"capacity": 0.7}, {"capacity": 1.2, "skip": {"mass": 0.6}}], ids=str
)
@pytest.mark.parametrize("router", SELECTING)
def test_a_dropped_expert_adds_nothing_and_all_else_stays(router, drops):
    layer = layer_of(router, **drops)
    x = items(layer)
    before = traces(layer)
    if form(layer, x) is Combine:  # an output of zero is not that of a missing expert
        whole = run(layer, x)[1]
        for expert in range(EXPERTS):
            y, routing = run(layer, x, "drop", expert)
            kept = whole.drop(whole.expert != expert)
            same(y, experts.mix_reference(x.view(-1, DIM), kept, layer.bank).view_as(y))
            assert routing.load[expert] == 0
    else:
        for expert in range(EXPERTS):
            y, _ = run(layer, x, "drop", expert)
            same(y, run(without(layer, expert), x)[0])
    assert_as_before(layer, before)


@pytest.mark.parametrize("topology", [experts.mmoe(4, tasks=2), experts.cgc(5, tasks=2, shared=1)])
@pytest.mark.parametrize("router", ["topk", "soft_moe", "merged"])
def test_a_dropped_expert_of_several_gates(topology, router):
    if router != "topk" and topology.streams > 1:
        return  # experts of several streams have no slots in common
    layer = gates_of(topology, router)
    streams = torch.randn(topology.streams, 12, DIM, dtype=torch.float64)
    for expert in range(topology.num_experts):
        y, _ = run(layer, streams, "drop", expert)
        same(y, run(without(layer, expert), streams)[0])


def test_several_experts_are_dropped_and_merged_ones_only_for_all_items():
    layer = layer_of("soft_mixture")
    x = items(layer)
    with intervene(layer, drop_experts([0, 2])), torch.no_grad():
        y, routing = call(layer, x)
    same(y, run(without(without(layer, 0), 2), x)[0])
    assert routing.load.tolist() == [0, 24, 0, 24]
    merged = layer_of("merged")
    pairs = torch.zeros(24, EXPERTS, dtype=torch.bool)
    pairs[0, 0] = True
    change = lambda items, routing: experts.leave_out(routing, pairs)  # noqa: E731
    with pytest.raises(ConfigError, match="work on all items of a part"), intervene(merged, change):
        call(merged, items(merged))
    mask = (torch.arange(24) >= 2).view(2, 12)  # of padding nothing matters
    with torch.no_grad(), intervene(merged, change):
        y, _ = merged(items(merged), mask=mask)
        same(y, merged(items(merged), mask=mask)[0])


# ---- reroute ----


@pytest.mark.parametrize("router", SELECTING)
def test_rerouted_items_are_those_of_a_layer_without_the_expert(router):
    layer = layer_of(router)
    x = items(layer)
    if router in REFUSED:
        with pytest.raises(ConfigError, match=f"reroute: .*{REFUSED[router]}"):
            INTERVENTIONS.build("reroute", layer)
        return
    before, reroute = traces(layer), INTERVENTIONS.build("reroute", layer)
    for expert in (0, 2):
        others = [other for other in range(EXPERTS) if other != expert]
        with torch.no_grad(), reroute.apply(expert):
            y, routing = call(layer, x)
        wanted, fewer = run(take_experts(layer, others), x)
        same(y, wanted)
        assert routing.load[others].tolist() == fewer.load.tolist()
        assert routing.probs[:, others].equal(fewer.probs)
    assert_as_before(layer, before)


def test_rerouted_items_of_several_gates_and_a_capacity():
    layer = gates_of(experts.mmoe(4, tasks=2))
    x = torch.randn(1, 12, DIM, dtype=torch.float64)
    same(run(layer, x, "reroute", 1)[0], run(take_experts(layer, [0, 2, 3]), x)[0])
    with pytest.raises(ConfigError, match="leave a gate without experts"):
        INTERVENTIONS.build("reroute", gates_of(experts.cgc(2, tasks=2, shared=0), "soft_mixture"))
    full = layer_of("topk", capacity=0.5)  # ceil(0.5 * 2 * 12 / 4) = 3 items of each of 2 groups
    assert run(full, items(full), "reroute", 1)[1].load.max() <= 6
    with pytest.raises(ConfigError, match="reroute: k=4 is invalid"):
        INTERVENTIONS.build(
            "reroute", MoE(routers.build("topk", DIM, EXPERTS, k=4), bank_of("mlp"))
        )


# ---- mean ----


@pytest.mark.parametrize("bank", ["mlp", "gru", "conv", "transformer"])
def test_a_mean_output_is_that_of_the_rows_of_the_expert(bank):
    layer = layer_of("topk", bank)
    x = items(layer)
    axes, mask = layer.bank.row_axes, None
    if axes == ("L", "D"):  # padding: samples of 1 to 5 positions
        mask = torch.arange(5) < 1 + torch.arange(len(x)).unsqueeze(1) % 5
    rows = x.view(-1, DIM) if axes == ("D",) else x

    def outputs(expert):
        load = torch.zeros(EXPERTS, dtype=torch.int64)
        load[expert] = len(rows)
        return layer.bank(rows, load, mask).movedim(axes.index("D") + 1, -1)

    with torch.no_grad():
        _, routing = layer(x, mask=mask)
        intervention = INTERVENTIONS.build("mean", layer)
        with intervention.observe():
            for part in (slice(0, 12), slice(12, 24)) if axes != ("D",) else (0, 1):
                layer(x[part], mask=None if mask is None else mask[part])
        for expert in range(EXPERTS):
            own = routing.expert == expert
            found = outputs(expert)[routing.item[own]]
            real = torch.ones(found.shape[:-1], dtype=torch.bool)
            real = real if mask is None else mask[routing.item[own]]
            mean = found[real].mean(0)
            wanted = torch.zeros_like(outputs(0))
            for other in range(EXPERTS):
                own, out = routing.expert == other, outputs(other)
                if other == expert:
                    out = mean.expand_as(out) * (1 if mask is None else mask.unsqueeze(2))
                weight = routing.weight[own].view(-1, *[1] * (out.dim() - 1))
                wanted.index_add_(0, routing.item[own], weight * out[routing.item[own]])
            with intervention.apply(expert):
                y = layer(x, mask=mask)[0]
            same(y.view_as(rows), wanted.movedim(-1, axes.index("D") + 1))
    assert not layer.bank._forward_hooks


def test_the_mean_of_slots_and_not_of_merged_experts():
    layer = layer_of("soft_moe")
    x = items(layer)
    slots = run(layer, x)[1].execution
    dispatch = slots.dispatch.unflatten(2, (EXPERTS, -1))
    inner = torch.einsum("gles,gld->egsd", dispatch, x).flatten(1, 2)
    mean = layer.bank(inner[1], torch.tensor([0, len(inner[1]), 0, 0])).mean(0)
    weight = slots.combine.unflatten(2, (EXPERTS, -1))[:, :, 1].sum(2)
    wanted = run(layer, x, "drop", 1)[0] + weight.unsqueeze(2) * mean
    same(run(layer, x, "mean", 1)[0], wanted.detach())
    with pytest.raises(ConfigError, match="mean: Merged averages the parameters"):
        INTERVENTIONS.build("mean", layer_of("merged"))


# ---- of the layer as a whole ----


@pytest.mark.parametrize("router", SELECTING)
def test_without_the_heaviest_expert(router):
    layer = layer_of(router)
    x = items(layer)
    y, routing = run(layer, x, "drop_top")
    whole = run(layer, x)[1]
    if isinstance(whole.execution, Slots | Merge):
        weights = whole.probs if isinstance(whole.execution, Slots) else whole.mean_weights
        for expert in range(EXPERTS):  # items whose heaviest expert it is
            top = (weights.argmax(1) == expert).view(2, 12)
            same(y[top], run(layer, x, "drop", expert)[0][top])
        return
    for item in range(24):
        own = [(whole.mass[a].item(), -a) for a in (whole.item == item).nonzero().flatten()]
        left = sorted(own)[:-1]
        found = (routing.item == item).nonzero().flatten()
        assert routing.mass[found].sum().item() == pytest.approx(sum(w for w, _ in left))
        assert len(found) == len(left)


@pytest.mark.parametrize("router", SELECTING)
def test_random_experts_of_equal_number_and_weights(router):
    layer = layer_of(router)
    x = items(layer)
    if form(layer, x) in (Slots, Merge):
        with pytest.raises(ConfigError, match="gives every item all experts"):
            run(layer, x, "random")
        return
    before, whole = traces(layer), run(layer, x)[1]
    y, routing = run(layer, x, "random")
    assert routing.item.equal(whole.item)
    assert routing.weight.equal(whole.weight)
    cells = routing.item * EXPERTS + routing.expert
    assert len(cells.unique()) == len(cells)
    assert not routing.expert.equal(whole.expert)
    if form(layer, x) is not Combine:
        same(y, experts.mix_reference(x.view(-1, DIM), routing, layer.bank).view_as(y))
    assert run(layer, x, "random")[1].expert.equal(routing.expert)  # a fixed seed
    assert_as_before(layer, before)


def test_random_experts_only_where_all_gates_have_all():
    layer = gates_of(experts.cgc(5, tasks=2, shared=1))
    with pytest.raises(ConfigError, match="random: gates choose among different experts"):
        INTERVENTIONS.build("random", layer)
    assert INTERVENTIONS.build("random", gates_of(experts.mmoe(4, tasks=2)))


# ---- the replacement of a routing ----


def test_nothing_is_left_after_an_error():
    layer = layer_of("topk", capacity=0.5)
    before = traces(layer)

    def fails(items, routing):
        raise KeyError

    with pytest.raises(KeyError), intervene(layer, fails):
        call(layer, items(layer))
    for name in INTERVENTIONS:
        intervention = INTERVENTIONS.build(name, layer)
        for changed in (intervention.observe(), intervention.apply(intervention.targets[0])):
            with pytest.raises(ZeroDivisionError), changed:
                raise ZeroDivisionError
    assert_as_before(layer, before)


def test_an_inner_intervention_changes_what_an_outer_one_returns():
    layer = layer_of("topk", capacity=0.9)
    x = items(layer)
    with torch.no_grad(), intervene(layer, drop_experts([0])), intervene(layer, drop_experts([1])):
        y, routing = call(layer, x)
    assert routing.load[:2].tolist() == [0, 0]
    same(y, run(without(without(layer, 0), 1), x)[0])
