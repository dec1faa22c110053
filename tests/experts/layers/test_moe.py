"""The layer: shapes, messages, capacity, shared experts, experts left out."""

import copy
import pickle

import pytest
import torch

import experts
import routers
from experts import MoE, mix, mix_reference
from routers import ConfigError, Routing

from ...router_samples import layout, one_of_each, traits
from ..cases import (
    DIM,
    EXPERTS,
    bank_of,
    banks_with,
    call,
    items_for,
    learnable,
    router_of,
    routing_of,
    rows_for,
)

#: One of each layout of single assignments whose weights sum to one.
CONVEX = one_of_each(
    layout,
    lambda name: traits(name).convex and layout(name).isdisjoint({"Slots", "Merge", "candidates"}),
)


def layer_of(router="topk", bank="mlp", **settings):
    return MoE(router_of(router), bank_of(bank), **settings).eval()


@pytest.mark.parametrize("lead", [(5,), (0,), (2, 3), (2, 0), (0, 3), (2, 3, 2)])
@pytest.mark.parametrize("bank", banks_with(1))
def test_tokens_keep_their_shape(bank, lead):
    y, routing = call(layer_of(bank=bank), torch.randn(*lead, DIM))
    assert y.shape == (*lead, DIM)
    assert routing.num_items == torch.Size(lead).numel()
    assert routing.groups == (1 if len(lead) == 1 else max(lead[0], 1))


@pytest.mark.parametrize("count", [0, 1, 6])
@pytest.mark.parametrize("bank", banks_with(2, 3))
def test_samples_keep_their_shape(bank, count):
    layer = layer_of(bank=bank)
    x = rows_for(layer.bank, count)
    y, routing = call(layer, x)
    assert y.shape == x.shape
    assert (routing.num_items, routing.groups) == (count, 1)


def test_several_tasks_come_first():
    class TwoTasks(routers.Router):
        def forward(self, items):
            return Routing.by_item(
                items, torch.zeros(len(items), 1).long(), torch.ones(len(items), 1, 2), EXPERTS
            )

    layer = MoE(TwoTasks(DIM, EXPERTS), bank_of("mlp"), shared=bank_of("mlp", 1))
    x = torch.randn(2, 3, DIM)
    y, _ = layer(x)
    assert y.shape == (2, 2, 3, DIM)
    torch.testing.assert_close(y[0], y[1])


def test_groups_are_the_first_axis():
    """Expert choice picks within a group: one sequence never changes another."""
    layer = layer_of("expert_choice")
    x = torch.randn(2, 6, DIM)
    alone, _ = layer(x[:1])
    torch.testing.assert_close(layer(x)[0][:1], alone)


def test_one_task_per_group_is_spread_over_its_items():
    seen = []
    layer = layer_of()
    layer.router.register_forward_pre_hook(lambda router, given: seen.append(given[0].task))
    layer(torch.randn(2, 3, DIM), task=torch.tensor([4, 7]))
    assert seen[0].tolist() == [4, 4, 4, 7, 7, 7]


@pytest.mark.parametrize(
    ("bank", "x", "given", "message"),
    [
        ("mlp", (5, 9), {}, r"x has shape \(5, 9\): expected \(\.\.\., D\) with D=8"),
        ("mlp", (8,), {}, r"x has shape \(8,\): expected \(\.\.\., D\) with D=8"),
        ("gru", (5, 8), {}, r"x has shape \(5, 8\): expected \(N, L, D\) with D=8"),
        ("conv", (5, 3, 8, 8), {}, r"x has shape \(5, 3, 8, 8\): expected \(N, D, H, W\) with D=8"),
        ("mlp", (2, 3, 8), {"mask": (2,)}, r"mask has shape \(2,\): expected \(2, 3\)"),
        ("mlp", (2, 3, 8), {"task": (3,)}, r"task has shape \(3,\): expected \(2, 3\)"),
        ("gru", (2, 3, 8), {"mask": (2, 4)}, r"mask has shape \(2, 4\): expected \(2, 3\)"),
        ("gru", (2, 3, 8), {"ids": (2, 3)}, r"ids has shape \(2, 3\): expected \(2,\)"),
        ("conv", (2, 8, 3, 3), {"mask": (2, 3)}, r"mask has shape \(2, 3\): expected \(2,\)"),
    ],
)
def test_messages_name_shapes(bank, x, given, message):
    given = {name: torch.ones(shape, dtype=torch.bool) for name, shape in given.items()}
    with pytest.raises(ValueError, match=message):
        layer_of(bank=bank)(torch.zeros(x), **given)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"capacity": 0.0}, "capacity=0.0 is invalid: expected a finite number above 0"),
        ({"capacity": -1}, "capacity=-1 is invalid"),
        ({"drop": "positon"}, "did you mean 'position'"),
        ({"rounding": "flor"}, "rounding=flor: unknown; did you mean 'floor'"),
        ({"expert_dropout": 1.0}, r"expert_dropout=1.0 is invalid: expected a number in \[0, 1\)"),
        ({"skip": {"mas": 0.9}}, "skip.mas: unknown; did you mean 'mass'"),
        ({"skip": {"mass": 2}}, r"skip.mass=2 is invalid: expected a number in \(0, 1\]"),
        ({"shared": bank_of("mlp", dim=4)}, "shared.dim=4 but the bank's is 8"),
        ({"shared": bank_of("gru")}, r"shared.row_axes=\('L', 'D'\) but the bank's is \('D',\)"),
    ],
)
def test_messages_name_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        layer_of(**settings)
    layer, ((name, value),) = layer_of(), settings.items()
    with pytest.raises(ConfigError, match=message):
        setattr(layer, name, value)
    assert getattr(layer, name) == getattr(layer_of(), name)


def test_router_and_bank_must_fit():
    with pytest.raises(ConfigError, match=r"router\.num_experts=4 but the bank's is 5"):
        MoE(router_of("topk"), bank_of("mlp", 5))
    with pytest.raises(ConfigError, match=r"router\.dim=8 but the bank's is 16"):
        MoE(router_of("topk"), bank_of("mlp", dim=16))
    layer = layer_of()
    with pytest.raises(ConfigError, match=r"router\.num_experts=5 but the bank's is 4"):
        layer.router = router_of("topk", 5)
    with pytest.raises(ConfigError, match=r"router\.num_experts=4 but the bank's is 5"):
        layer.bank = bank_of("mlp", 5)


def test_capacity_limits_every_expert_in_every_group():
    layer = layer_of(capacity=0.5)
    _, routing = layer(torch.randn(3, 16, DIM))
    # 16 items of 2 experts each over 4 experts: 8 on average, half of it is 4
    group = routing.item // 16
    counts = torch.bincount(group * EXPERTS + routing.expert, minlength=12)
    assert counts.max() == 4
    assert routing.requested_load.sum() == 3 * 16 * 2


@pytest.mark.parametrize(("rounding", "places"), [("ceil", 5), ("floor", 4), ("ceil_to_4", 8)])
def test_capacity_is_rounded_as_told(rounding, places):
    layer = layer_of(capacity=0.5, rounding=rounding)
    _, routing = layer(torch.zeros(18, DIM))  # all want the same two: 0.5 * 2 * 18 / 4 = 4.5
    assert sorted(routing.load.tolist()) == [0, 0, places, places]


@pytest.mark.parametrize("renormalize", [False, True])
def test_weights_after_drops(renormalize):
    _, routing = layer_of(capacity=0.5, renormalize=renormalize)(torch.randn(16, DIM))
    sums = torch.zeros(16).index_add(0, routing.item, routing.weight)[routing.item]
    assert bool((sums > 0.999).all()) == renormalize


def test_an_item_left_with_weight_zero_has_a_finite_gradient():
    weight = torch.tensor([1.0, 0.0]).requires_grad_()
    routing = routing_of([(0, 0), (0, 1)], weight, 1)
    kept = routing.drop(torch.tensor([False, True]), renormalize=True)
    kept.weight.sum().backward()
    assert kept.weight.tolist() == [0.0]
    assert weight.grad.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("bank", experts.available())
def test_shared_experts_add_to_every_real_item(bank):
    plain, layer = layer_of(bank=bank), layer_of(bank=bank, shared=bank_of(bank, 3))
    x = rows_for(plain.bank, 4).detach()
    mask = torch.tensor([True, False, True, True])
    added = layer(x, mask=mask)[0] - plain(x, mask=mask)[0]
    each = [layer.shared(x, 4 * torch.eye(3, dtype=torch.long)[e]) for e in range(3)]
    torch.testing.assert_close(added[mask], sum(each)[mask])
    assert not added[1].any()


class TestExpertDropout:
    def test_whole_experts_are_left_out_of_training_batches(self):
        torch.manual_seed(0)
        layer = layer_of("soft_mixture", expert_dropout=0.5).train()
        x = torch.randn(40, DIM)
        loads = torch.stack([layer(x)[1].load for _ in range(200)])
        assert set(loads.unique().tolist()) == {0, 40}
        assert loads.bool().double().mean().item() == pytest.approx(1 / 2, abs=0.06)

    @pytest.mark.parametrize("router", CONVEX)
    def test_weights_still_sum_to_one(self, router):
        torch.manual_seed(0)
        layer = layer_of(router, expert_dropout=0.5).train()
        for _ in range(20):
            _, routing = layer(torch.randn(16, DIM), ids=torch.arange(16))
            sums = torch.zeros(16).index_add(0, routing.item, routing.weight)
            torch.testing.assert_close(sums, routing.assigned_mask.any(1).float())

    def test_an_item_without_its_only_expert_gets_nothing(self):
        torch.manual_seed(0)
        layer = layer_of("hash", expert_dropout=0.5).train()
        y, routing = call(layer, torch.randn(16, DIM))
        left = routing.assigned_mask.any(1)
        assert 0 < left.sum() < 16
        assert not y[~left].any()

    def test_requested_counts_what_was_left_out(self):
        layer = layer_of("soft_mixture", expert_dropout=0.5).train()
        torch.manual_seed(0)
        _, routing = layer(torch.randn(16, DIM))
        assert routing.num_assignments < 64
        assert routing.requested_load.tolist() == [16] * 4

    def test_not_in_eval_and_not_for_blends(self):
        x = torch.randn(16, DIM)
        same = layer_of("soft_mixture")(x)[0]
        for _ in range(10):
            assert torch.equal(layer_of("soft_mixture", expert_dropout=0.5)(x)[0], same)
        blended = layer_of("soft_moe", expert_dropout=0.9).train()
        assert blended(x)[1].load.min() > 0


class TestSkip:
    @pytest.mark.parametrize("router", one_of_each(layout))
    def test_outputs_are_those_without_the_skipped(self, router):
        """Fewer rows in evaluation, all of them in training; slots and merged experts have all."""
        layer = layer_of(router, skip={"weight": 0.9}).double()
        x, ids = torch.randn(12, DIM, dtype=torch.float64), torch.arange(12)
        y, routing = layer(x, ids=ids, task=ids % 2)
        torch.testing.assert_close(y, mix_reference(x, routing, layer.bank))
        layer.skip = None
        _, full = layer(x, ids=ids, task=ids % 2)
        left = full.skip({"weight": 0.9})
        assert routing.load.equal(left.load)
        assert routing.requested_load.equal(full.load)
        several = full.supports_dropping and full.assigned_mask.sum(1).max() > 1
        assert (routing.load.sum() < full.load.sum()) == several
        layer.train()  # where a router may draw, and assign more items than in evaluation
        found = []
        for layer.skip in (None, {"weight": 0.9}):
            torch.manual_seed(0)
            found.append(layer(x, ids=ids, task=ids % 2)[1].num_assignments)
        assert found[0] == found[1]

    def test_an_item_with_a_place_left_keeps_one(self):
        """The largest weight is that of assignments within capacity."""
        layer = layer_of("soft_mixture", capacity=0.3, skip={"mass": 0.01})
        x = torch.randn(10, DIM)
        _, routing = layer(x)
        layer.skip = None
        _, within = layer(x)
        assert routing.assigned_mask.sum(1).tolist() == within.assigned_mask.any(1).int().tolist()
        assert within.assigned_mask.sum(1).max() > 1

    def test_weights_after_skips(self):
        layer = layer_of(skip={"weight": 0.9}, renormalize=True)
        _, routing = layer(torch.randn(16, DIM))
        sums = torch.zeros(16).index_add(0, routing.item, routing.weight)
        torch.testing.assert_close(sums, torch.ones(16))
        assert routing.num_assignments < 32


@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_dropout_of_hidden_activations_is_for_training(bank):
    bank, rows, load = bank_of(bank, dropout=0.5), torch.ones(2, DIM), torch.tensor([2, 0, 0, 0])
    still = bank(rows, load)
    torch.testing.assert_close(still[0], still[1])
    bank.train()
    moved = bank(rows, load)
    assert not torch.allclose(moved[0], moved[1])


@pytest.mark.parametrize("bank", experts.available())
def test_state_dict_deepcopy_and_pickle(bank):
    layer = layer_of(bank=bank, shared=bank_of(bank, 2))
    x = rows_for(layer.bank, 4).detach()
    y, _ = layer(x)
    twins = [
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        layer_of(bank=bank, shared=bank_of(bank, 2)),
    ]
    for p in learnable(twins[2]):
        torch.nn.init.normal_(p)
    twins[2].load_state_dict(layer.state_dict())
    for twin in twins:
        assert torch.equal(twin(x)[0], y)


def test_nothing_hides_in_the_layers_state():
    layer = layer_of(capacity=1.0, shared=bank_of("glu", 1)).train()
    before = {name: set(vars(part)) for name, part in layer.named_modules()}
    layer(torch.randn(6, DIM))
    assert {name: set(vars(part)) for name, part in layer.named_modules()} == before


def test_a_fixed_routing_gives_a_known_number():
    bank = bank_of("null", kinds=["copy", "zero"])
    x = torch.full((2, DIM), 2.0)
    weight = torch.tensor([0.25, 0.5, 3.0])
    y = mix(x, routing_of([(0, 0), (0, 2), (1, 1)], weight, 2), bank)
    assert y[:, 0].tolist() == [2.0 * 0.75, 0.0]


def test_pool_is_what_the_router_sees():
    layer = layer_of(bank="conv")
    x = torch.randn(3, DIM, 4, 5)
    _, routing = layer(x)
    seen = layer.router(items_for(layer.bank, x))
    assert torch.equal(routing.logits, seen.logits)
    torch.testing.assert_close(layer.bank.pool(x), x.flatten(2).mean(2))
