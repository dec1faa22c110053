"""Several gates over one bank, compared with loops over samples, gates and experts."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

import experts
import routers
from experts import MoE, MultiGateMoE, count_flops, mix_reference
from experts.layers.multi_gate import Gates
from routers import LOSSES, ConfigError, Items, Router, Routing

from ...router_samples import SELECTING, joins, layout, one_of_each, traits, with_routes
from ..cases import DIM, IDS, bank_of, gradients, learnable, router_of, rows_for, same

#: Every branch has as many experts as the routers' defaults fit.
TOPOLOGIES = {
    "mmoe": experts.mmoe(4, tasks=3),
    "cgc": experts.cgc(6, tasks=2, shared=2),
    "cgc_shared": experts.cgc_shared(6, tasks=2, shared=2),
    "views": experts.views(4, num_views=2, tasks=2),
    "renumbered": experts.GateTopology(
        1, (0,) * 4, (experts.GateBranch(0, (3, 1, 0, 2)), experts.GateBranch(0, (1, 2, 3, 0)))
    ),
}
ONE_STREAM = ("mmoe", "renumbered")
JOINING = [name for name in SELECTING if joins(name)]
#: Every router with gates that share all experts, one of each kind with the other topologies.
PAIRS = [
    (topology, router)
    for topology in TOPOLOGIES
    for router in (JOINING if topology == "mmoe" else one_of_each(layout, joins))
]


def blends(router):
    """Whether more happens than sums of outputs, which needs all of them to be of one stream."""
    two = torch.arange(2)
    routing = router_of(router)(with_routes(Items(torch.zeros(2, DIM), ids=two, task=two), 4))
    return routing.execution is not None


def layer_of(topology, router="topk", bank="mlp", **settings):
    """A layer whose gates and experts all differ, in eval and float64."""
    topology = TOPOLOGIES.get(topology, topology)
    gates = []
    for seed, branch in enumerate(topology.branches):
        gate = router_of(router, len(branch.experts))
        torch.manual_seed(10 + seed)
        for p in gate.parameters():
            torch.nn.init.normal_(p.data)
        gates.append(gate)
    bank = bank_of(bank, topology.num_experts)
    return MultiGateMoE(gates, bank, topology, **settings).double().eval()


def streams_for(layer, count=9, seed=2):
    streams = [
        rows_for(layer.bank, count, seed + s).detach() for s in range(layer.topology.streams)
    ]
    return torch.stack(streams).double().requires_grad_()


def call(layer, x, **given):
    ids = torch.arange(x.shape[1]) * 7 % IDS
    return layer(x, ids=ids, task=ids % 2, **given)


def routed_alone(layer, x, mask=None):
    """Every gate's own routing of its stream."""
    ids = torch.arange(x.shape[1]) * 7 % IDS
    for gate, branch in zip(layer.router.gates, layer.topology.branches, strict=True):
        read = layer.bank.projections()
        read = None if read is None else read[list(branch.experts)]
        items = Items(x[branch.reads], mask=mask, ids=ids, task=ids % 2, projections=read)
        yield branch, gate(items)


def reference(layer, router, x, mask=None):
    """Sample by sample, gate by gate, expert by expert."""
    outputs = []
    for branch, routing in routed_alone(layer, x, mask):
        if blends(router):
            expert = torch.tensor(branch.experts)[routing.expert]
            outputs.append(mix_reference(x[0], replace(routing, expert=expert), layer.bank))
            continue
        sums = [torch.zeros_like(row) for row in x[0]]
        for a, i in enumerate(routing.item.tolist()):
            expert = branch.experts[routing.expert[a]]
            load = F.one_hot(torch.tensor(expert), layer.bank.num_experts)
            row = x[layer.topology.sources[expert], i : i + 1]
            sums[i] = sums[i] + routing.weight[a] * layer.bank(row, load)[0]
        outputs.append(torch.stack(sums))
    return torch.stack(outputs)


@pytest.mark.parametrize(
    ("topology", "router", "masked"),
    [(*pair, True) for pair in PAIRS]
    + [("mmoe", router, False) for router in one_of_each(layout, joins)],
)
def test_as_the_loops_say(topology, router, masked):
    layer = layer_of(topology, router)
    x = streams_for(layer)
    mask = torch.arange(9) % 4 != 1 if masked else None
    if blends(router) and topology not in ONE_STREAM:
        with pytest.raises(ConfigError, match="only where all gates and experts use one stream"):
            call(layer, x, mask=mask)
        return
    y, _ = call(layer, x, mask=mask)
    expected = reference(layer, router, x, mask)
    assert y.shape == (layer.num_gates, 9, DIM)
    same(y, expected)
    given = [x, *learnable(layer)]
    for ours, theirs in zip(gradients(y, given), gradients(expected, given), strict=True):
        same(ours, theirs)


@pytest.mark.parametrize("bank", experts.available())
@pytest.mark.parametrize("topology", ["mmoe", "cgc"])
def test_whole_samples_too(topology, bank):
    layer = layer_of(topology, bank=bank)
    x = streams_for(layer, count=4)
    y, routing = layer(x)
    assert y.shape == (layer.num_gates, *x.shape[1:])
    sums = torch.zeros_like(y)
    for item, expert, weight in zip(routing.item, routing.expert, routing.weight, strict=True):
        load = F.one_hot(expert, layer.bank.num_experts)
        row = x[layer.topology.sources[expert], item : item + 1]
        sums[:, item] += torch.tensordot(weight, layer.bank(row, load)[0], 0)
    same(y, sums)


def test_sequences_keep_their_padding():
    layer = layer_of("cgc", bank="gru")
    x = streams_for(layer, count=3).detach()
    mask = torch.tensor([[True] * 5, [True, True, False, False, False], [False] * 5])
    y, _ = layer(x, mask=mask)
    assert not y[:, ~mask].any()
    alone, _ = layer(x[:, 1:2, :2])
    same(y[:, 1:2, :2], alone)


def test_a_soft_mixture_is_the_formula():
    """y_t = sum_e softmax(x W_t)_e f_e(x), Ma et al. 2018, equations 6 and 7."""
    layer = layer_of("mmoe", "soft_mixture")
    x = streams_for(layer)
    y, _ = layer(x)
    up, down = layer.bank.up, layer.bank.down
    every = F.gelu(x[0] @ up) @ down  # (E, N, D)
    for t, gate in enumerate(layer.router.gates):
        (weight,) = gate.parameters()
        share = (x[0] @ (weight if weight.shape[0] == DIM else weight.t())).softmax(-1)
        same(y[t], torch.einsum("ne,end->nd", share, every))


def test_experts_run_once_for_all_gates():
    layer = layer_of("mmoe", "soft_mixture")
    x = streams_for(layer)
    _, routing = layer(x)
    assert routing.load.tolist() == [9] * 4
    assert routing.weight.shape == (36, 3)
    assert routing.is_dense


@pytest.mark.parametrize(("topology", "router"), [p for p in PAIRS if not blends(p[1])])
def test_the_joint_routing(topology, router):
    layer = layer_of(topology, router)
    x = streams_for(layer)
    mask = torch.arange(9) != 4
    x = x.detach() * mask.view(1, -1, 1)  # as the layer shows padding to its gates
    _, routing = call(layer, x, mask=mask)
    e, gates = layer.bank.num_experts, layer.num_gates
    chosen, probs, importance = torch.zeros(9, e).bool(), torch.zeros(9, e).double(), 0
    for branch, alone in routed_alone(layer, x, mask):
        of = list(branch.experts)
        chosen[:, of] |= alone.assigned_mask
        probs[:, of] += alone.to_dense(alone.probs) / gates
        importance = importance + torch.zeros(e).double().index_add(
            0, torch.tensor(of), alone.importance
        )
    assert torch.equal(routing.assigned_mask, chosen)
    assert torch.equal(routing.load, chosen.sum(0))
    same(routing.probs, probs)
    same(routing.importance, importance)
    assert torch.equal(routing.mask, mask)
    pair = routing.expert * 9 + routing.item
    assert torch.equal(pair, pair.unique())


def test_expected_load_is_the_sum():
    layer = layer_of("cgc", "noisy_topk")
    x = streams_for(layer)
    _, routing = layer(x)
    total = torch.zeros(6).double()
    for branch, alone in routed_alone(layer, x):
        total[list(branch.experts)] += alone.expected_load
    same(routing.expected_load, total)
    assert LOSSES["load"](routing).isfinite()


def test_the_z_loss_is_the_mean_of_the_gates():
    layer = layer_of("cgc_shared", "topk")
    x = streams_for(layer)
    mask = torch.arange(9) % 2 == 0
    _, routing = layer(x, mask=mask)
    each = [LOSSES["z"](alone) for _, alone in routed_alone(layer, x, mask)]
    same(LOSSES["z"](routing), sum(each) / 3)
    with pytest.raises(ConfigError, match="no logits"):
        LOSSES["z"](call(layer_of("mmoe", "hash"), streams_for(layer)[:1])[1])


def test_balance_of_even_gates_is_one():
    layer = layer_of("cgc", "soft_mixture")
    for p in layer.router.parameters():
        torch.nn.init.zeros_(p)
    _, routing = layer(streams_for(layer))
    assert LOSSES["switch"](routing).item() == pytest.approx(1.0)


class Overfull(Router):
    """Top-1 that drops all but its first two items by itself."""

    def forward(self, items):
        first = torch.zeros(len(items), 1, dtype=torch.long)
        routing = Routing.by_item(items, first, items.x[:, :1] * 0 + 0.5, self.num_experts)
        return routing.drop(torch.arange(len(items)) < 2)


def test_what_gates_drop_themselves_counts_as_asked_for():
    topology = experts.mmoe(2, tasks=2)
    layer = MultiGateMoE([Overfull(DIM, 2), Overfull(DIM, 2)], bank_of("mlp", 2), topology)
    _, routing = layer(torch.randn(1, 5, DIM))
    assert routing.load.tolist() == [2, 0]
    assert routing.requested_load.tolist() == [
        5,
        0,
    ]  # an expert works once on an item, however many gates select it
    assert routing.importance.tolist() == [2 * 5 * 0.5, 0]
    assert routing.before.weight.tolist() == [[0.5, 0.5]] * 5


class TestCapacity:
    def test_holds_for_all_gates_together(self):
        layer, free = layer_of("mmoe", capacity=0.5), layer_of("mmoe")
        x = streams_for(layer, count=16)
        y, routing = layer(x)
        _, asked = free(x)
        room = -(-asked.num_assignments // 8)  # half of an even load over 4 experts
        assert routing.load.max() == room
        assert torch.equal(routing.requested_load, asked.load)
        sums = torch.zeros_like(y)
        for item, expert, weight in zip(routing.item, routing.expert, routing.weight, strict=True):
            row = layer.bank(x[0, item : item + 1], F.one_hot(expert, 4))[0]
            sums[:, item] += torch.tensordot(weight, row, 0)
        same(y, sums)

    def test_renormalize_is_gate_by_gate(self):
        layer = layer_of("mmoe", capacity=0.7, renormalize=True)
        _, routing = layer(streams_for(layer, count=16))
        sums = torch.zeros(16, 3).double().index_add(0, routing.item, routing.weight)
        left = torch.zeros(16, 3).double().index_add(0, routing.item, (routing.weight > 0).double())
        same(sums, (left > 0).double())
        assert 0 < (left == 0).sum() < 48

    def test_experts_are_left_out_for_all_gates(self):
        layer = layer_of("mmoe", "soft_mixture", expert_dropout=0.5).train()
        torch.manual_seed(0)
        _, routing = layer(streams_for(layer))
        assert set(routing.load.tolist()) == {0, 9}
        assert routing.requested_load.tolist() == [9] * 4


@pytest.mark.parametrize("topology", ["mmoe", "cgc"])
def test_padding_may_hold_nan(topology):
    layer = layer_of(topology, shared=bank_of("mlp", 1))
    x = streams_for(layer).detach()
    mask = torch.arange(9) % 3 != 0
    dirty = x.masked_fill(~mask.view(1, -1, 1), torch.nan)
    y, _ = layer(dirty, mask=mask)
    assert torch.equal(y, layer(x, mask=mask)[0])
    assert not y[:, ~mask].any()
    same(y[:, mask], layer(x[:, mask])[0])


def test_shared_experts_work_on_the_last_stream_for_every_gate():
    plain, layer = layer_of("cgc"), layer_of("cgc", shared=bank_of("mlp", 2))
    x = streams_for(layer)
    added = layer(x)[0] - plain(x)[0]
    each = [layer.shared(x[-1], 9 * F.one_hot(torch.tensor(e), 2)) for e in range(2)]
    same(added, sum(each).expand(2, -1, -1))


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize(("topology", "router"), PAIRS)
def test_few_samples(topology, router, count):
    if blends(router) and topology not in ONE_STREAM:
        return
    layer = layer_of(topology, router)
    y, routing = call(layer, streams_for(layer, count))
    assert y.shape == (layer.num_gates, count, DIM)
    assert routing.num_items == count


@pytest.mark.usefixtures("unpadded")
@pytest.mark.parametrize("router", JOINING)
@pytest.mark.parametrize("topology", ["mmoe", "cgc"])
def test_flops_are_as_counted(topology, router):
    if blends(router) and topology not in ONE_STREAM:
        return
    layer = layer_of(topology, router, shared=bank_of("mlp", 1)).float()
    x = streams_for(layer).detach().float()
    _, routing = call(layer, x)
    total = count_flops(lambda: call(layer, x))
    of_gates = count_flops(lambda: list(routed_alone(layer, x)))
    assert layer.flops(routing, (DIM,)) == total - of_gates


class Remembers(Router):
    """Records its arguments."""

    def __init__(self, dim, num_experts, **traits):
        super().__init__(dim, num_experts)
        self.set_traits(**traits)
        self.told = []

    def forward(self, items):
        self.told.append(items)
        expert = torch.zeros(len(items), 1, dtype=torch.long)
        return Routing.by_item(items, expert, items.x[:, :1], self.num_experts)

    def adapt(self, load):
        self.told.append(load)

    def prepare(self, ids, features):
        self.told.append(ids)


class TestGates:
    def test_each_adapts_to_the_load_of_its_own_experts(self):
        gates = Gates([Remembers(DIM, 4), Remembers(DIM, 4)], TOPOLOGIES["cgc"])
        gates.adapt(torch.tensor([1, 2, 3, 4, 5, 6]))
        assert [gate.told[0].tolist() for gate in gates.gates] == [[1, 2, 5, 6], [3, 4, 5, 6]]

    def test_each_is_prepared(self):
        gates = Gates([Remembers(DIM, 4), Remembers(DIM, 4)], TOPOLOGIES["cgc"])
        gates.prepare(torch.tensor([7]), torch.zeros(1, 3))
        assert [gate.told[0].tolist() for gate in gates.gates] == [[7], [7]]

    def test_each_sees_its_own_stream_with_what_names_its_items(self):
        layer = MultiGateMoE(
            [Remembers(DIM, 4), Remembers(DIM, 4)], bank_of("mlp", 6), TOPOLOGIES["cgc"]
        )
        x, ids = torch.randn(3, 2, DIM), torch.tensor([5, 3])
        mask = torch.tensor([True, True])
        layer(x, mask=mask, ids=ids, task=ids + 1)
        for stream, gate in enumerate(layer.router.gates):
            (seen,) = gate.told
            assert torch.equal(seen.x, x[stream])
            assert torch.equal(seen.ids, ids)
            assert torch.equal(seen.task, ids + 1)
            assert torch.equal(seen.mask, mask)

    @pytest.mark.parametrize(
        ("trait", "together"),
        [
            ("learned", True),
            ("needs_ids", True),
            ("needs_task", True),
            ("per_item", False),
            ("causal", False),
            ("equivariant", False),
            ("convex", False),
            ("expects_load", False),
        ],
    )
    def test_promise_no_more_than_each_and_need_what_any_needs(self, trait, together):
        one, other = (Remembers(DIM, 4, **{trait: value}) for value in (True, False))
        gates = Gates([one, other, other], TOPOLOGIES["mmoe"])
        assert getattr(gates.traits, trait) is together

    @pytest.mark.parametrize(
        "router",
        one_of_each(
            lambda name: layout(name) & {"fan_in", "Slots", "Merge", "Combine"},
            lambda name: not traits(name).expects_load,
        ),
    )
    def test_pass_the_conformance_kit(self, router, monkeypatch):
        """But for expected loads: sums over gates, where two that agree count twice."""

        monkeypatch.setattr("routers.conformance.harness.SIZES", [(8, 4)])  # one is enough here

        def gates(dim, num_experts):
            each = [routers.build(router, dim, num_experts) for _ in range(2)]
            return Gates(each, experts.mmoe(num_experts, tasks=2))

        routers.check_router(gates)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(experts.cgc, 7, tasks=2, shared=2),
            r"moe\.num_experts=7 is invalid: expected 4, 6, 8 or more",
        ),
        (
            partial(experts.cgc, 2, tasks=2, shared=2),
            r"moe\.num_experts=2 is invalid: expected 4, 6, 8 or more",
        ),
        (
            partial(experts.cgc_shared, 1, tasks=2, shared=2),
            r"moe\.num_experts=1 is invalid: expected 4",
        ),
        (
            partial(experts.views, 4, num_views=3),
            r"moe\.num_experts=4 is invalid: expected a multiple of 3",
        ),
    ],
)
def test_experts_that_do_not_split_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("streams", "sources", "branches", "message"),
    [
        (1, (0, 1), [(0, (0, 1))], "stream 1 does not exist"),
        (1, (0,), [(-1, (0,))], "stream -1 does not exist"),
        (1, (0,), [(0, (0, 1))], "expert 1 does not exist"),
        (1, (0, 0), [(0, (0, 0, 1))], "expected each expert once"),
        (1, (0, 0), [(0, (0, 1)), (0, ())], "expected each expert once"),
        (1, (0, 0), [(0, (1,))], r"experts \[0\] have no gate"),
        (1, (), [], "no gate"),
    ],
)
def test_topologies_that_cannot_be_are_refused(streams, sources, branches, message):
    branches = tuple(experts.GateBranch(*branch) for branch in branches)
    with pytest.raises(ValueError, match=message):
        experts.GateTopology(streams, sources, branches)


def test_gates_must_fit_the_topology():
    bank = bank_of("mlp", 6)
    with pytest.raises(ConfigError, match=r"\[4, 3\].*\[4, 4\]"):
        MultiGateMoE([router_of("topk", 4), router_of("topk", 3)], bank, TOPOLOGIES["cgc"])
    odd = routers.build("topk", 2 * DIM, 4)
    with pytest.raises(ConfigError, match="differ in width"):
        MultiGateMoE([router_of("topk", 4), odd], bank, TOPOLOGIES["cgc"])
    with pytest.raises(ConfigError, match=r"router\.num_experts=4 but the bank's is 6"):
        MultiGateMoE([router_of("topk", 4)] * 3, bank, TOPOLOGIES["mmoe"])


def test_streams_are_counted():
    layer = layer_of("cgc")
    with pytest.raises(ValueError, match=r"x has shape \(2, 5, 8\): expected \(3, \.\.\.\)"):
        layer(torch.zeros(2, 5, DIM).double())


class TestDense:
    @pytest.mark.parametrize("topology", TOPOLOGIES)
    def test_one_expert_works_once_for_all_gates(self, topology):
        dense = TOPOLOGIES[topology].dense()
        gates = [routers.build("uniform", DIM, 1, k=1) for _ in dense.branches]
        layer = MultiGateMoE(gates, bank_of("mlp", 1), dense).double().eval()
        x = streams_for(layer)
        y, routing = layer(x)
        assert routing.load.tolist() == [9]
        alone = layer.bank(x[-1], torch.tensor([9]))
        same(y, alone.expand(len(dense.branches), -1, -1))


def test_one_gate_over_one_stream_is_the_plain_layer():
    layer = layer_of(experts.mmoe(4, tasks=1))
    plain = MoE(layer.router.gates[0], layer.bank)
    x = streams_for(layer)
    same(layer(x)[0][0], plain(x[0])[0])


def test_mean_outputs_belong_to_one_gate():
    layer = layer_of("mmoe", "default_topk")
    with pytest.raises(ConfigError, match="works with one gate only; choose a router such as topk"):
        call(layer, streams_for(layer))


def test_gates_share_routers_and_see_their_own_earlier_states():
    def made(name):
        gates = [routers.build(name, DIM, 4) for _ in range(2)]
        return MultiGateMoE(gates, bank_of("mlp", 4), experts.mmoe(4, tasks=2))

    one, two = made("topk"), made("topk")
    assert two.router.shared_with(one.router) is one.router
    one, two = made("recurrent"), made("recurrent")
    shared = two.router.shared_with(one.router)
    assert shared is two.router  # the GRU alone is common
    x = torch.randn(1, 5, DIM)
    first = one(x)[1]
    assert not torch.equal(two(x)[1].weight, two(x, earlier=[first])[1].weight)
    swapped = replace(first, gates=first.gates[::-1])
    assert not torch.equal(two(x, earlier=[swapped])[1].weight, two(x, earlier=[first])[1].weight)
