"""Layers with selected, copied and permuted experts, for every router and bank."""

import pytest
import torch

import experts
import routers
from experts import MoE, MultiGateMoE, take_experts
from experts.surgery.router_state import router_state
from routers import ConfigError
from routers.plugins import rebuilt

from ...router_samples import SELECTING
from ..cases import DIM, EXPERTS, bank_of, call, router_of, rows_for, same, suits

pytestmark = pytest.mark.usefixtures("double")

#: Routers that know experts by number or by groups of them, and why ``take_experts`` refuses.
REFUSED = {
    "dselect_k": "is unclear",
    "hierarchical": "is unclear",
    "mapped": "is unclear",
    "product_key": "is unclear",
    "soft_mapped": "is unclear",
}
#: Routers that select experts by position alone, so that permuted experts work on other items.
BY_NUMBER = {"stochastic", "uniform"}
ROUTERS = [name for name in SELECTING if name not in REFUSED]
ORDER = [2, 0, 3, 1]


def layer_of(router, bank="mlp"):
    """A layer of float64 whose state is random, so that no score is equal to another."""
    layer = MoE(router_of(router), bank_of(bank)).double().eval()
    generator = torch.Generator().manual_seed(5)
    for values in [*layer.parameters(), *layer.router.buffers()]:
        if values.is_floating_point() and values.dim():
            values.data += 0.1 * torch.randn(values.shape, generator=generator).to(values.dtype)
    return layer


def outputs(layer, x):
    with torch.no_grad():
        return call(layer, x)[0]


def items(layer, count=24):
    x = rows_for(layer.bank, count).detach()
    return x.view(2, count // 2, DIM) if len(layer.bank.row_axes) == 1 else x


@pytest.mark.parametrize("router", SELECTING)
def test_the_same_experts_give_equal_bits(router):
    layer = layer_of(router)
    x = items(layer)
    twin = take_experts(layer, range(EXPERTS))
    assert outputs(twin, x).equal(outputs(layer, x))
    if router not in REFUSED:  # through a selection of entries too
        there = take_experts(layer, ORDER)
        back = take_experts(there, [ORDER.index(expert) for expert in range(EXPERTS)])
        assert outputs(back, x).equal(outputs(layer, x))
        assert back.state_dict().keys() == layer.state_dict().keys()
        assert all(v.equal(layer.state_dict()[k]) for k, v in back.state_dict().items())


@pytest.mark.parametrize("router", [name for name in ROUTERS if name not in BY_NUMBER])
def test_permuted_experts_give_the_same_outputs(router):
    layer = layer_of(router)
    x = items(layer)
    twin = take_experts(layer, ORDER)
    y, routing = call(twin, x)
    same(y.detach(), outputs(layer, x))
    assert routing.load.tolist() == call(layer, x)[1].load[ORDER].tolist()


@pytest.mark.parametrize("bank", experts.available())
def test_every_bank_permutes(bank):
    layer = layer_of("soft_mixture", bank)
    order = [1, 0, 2, 3] if bank == "mixed" else ORDER  # the parts of mixed stay in order
    x = items(layer)
    same(outputs(take_experts(layer, order), x), outputs(layer, x))
    fewer, more = take_experts(layer, [1, 3]), take_experts(layer, [0, 1, 1, 2, 3])
    for other, index in ((fewer, [1, 3]), (more, [0, 1, 1, 2, 3])):
        for place, expert in enumerate(index):
            pairs = zip(
                other.bank.parameters_of(place), layer.bank.parameters_of(expert), strict=True
            )
            assert all(one.equal(two) for one, two in pairs)
        shapes = [
            {name: values.shape for name, values in each.state_dict().items()}
            for each in (rebuilt(other.bank), other.bank)
        ]
        assert shapes[0] == shapes[1]
    assert suits("soft_mixture", bank)


@pytest.mark.parametrize("router", ROUTERS)
def test_fewer_experts_are_those_of_a_layer_that_never_had_the_others(router):
    """Scores of what is left are as they were."""
    layer = layer_of(router)
    if router == "grouped_topk":  # four groups of one expert each
        with pytest.raises(ConfigError, match="expert_groups=4 is invalid"):
            take_experts(layer, [3, 1, 0])
        return
    fewer = take_experts(layer, [3, 1, 0])
    assert fewer.router.num_experts == fewer.bank.num_experts == 3
    y, routing = call(fewer.train(), items(layer))
    assert torch.isfinite(y).all()
    assert routing.num_experts == 3
    logits = call(layer, items(layer))[1].logits
    if logits is not None and router not in ("gumbel", "noisy_topk", "batch_priority"):
        now = call(fewer.eval(), items(layer))[1].logits
        same(now.detach(), logits.detach()[:, [3, 1, 0]])


@pytest.mark.parametrize(("router", "reason"), REFUSED.items())
def test_refused_routers_say_why(router, reason):
    with pytest.raises(ConfigError, match=reason):
        take_experts(layer_of(router), ORDER)


def test_groups_of_experts_are_not_interchangeable():
    router = routers.build("grouped_topk", DIM, 8, expert_groups=4)
    layer = MoE(router, bank_of("mlp", 8)).double()
    with pytest.raises(ConfigError, match="not interchangeable"):
        take_experts(layer, [1, 0, 2, 3, 4, 5, 6, 7])


def test_layouts_are_found_by_what_they_do():
    """Slots expert by expert, gates of tasks in turn, null experts after the others."""
    found = {
        name: router_state(router_of(name)).layout.__name__ for name in ("soft_moe", "task_gate")
    }
    assert found == {"soft_moe": "expert_by_expert", "task_gate": "all_experts_in_turn"}
    assert router_state(router_of("null_experts")).selections([1])["gate.weight"][1] == [
        1,
        4,
        5,
        6,
        7,
    ]


def test_copies_of_an_expert_share_its_ids():
    layer = layer_of("hash")
    x = items(layer)
    more = take_experts(layer, [0, 1, 2, 3, 0, 0])
    same(outputs(more, x), outputs(layer, x))
    table = more.router.table.bincount(minlength=6)
    assert table[[0, 4, 5]].max() - table[[0, 4, 5]].min() <= 1
    fewer = take_experts(layer, [0, 2], heirs=[0, 1, 1, 0])
    assert fewer.router.table[layer.router.table == 1].unique().tolist() == [1]


def test_gates_take_the_experts_of_their_branches():
    topology = experts.cgc(5, tasks=2, shared=1)
    gates = [routers.build("topk", DIM, 3, k=2) for _ in range(2)]
    layer = MultiGateMoE(gates, bank_of("mlp", 5), topology).double().eval()
    x = torch.randn(3, 2, 6, DIM)
    twin = take_experts(layer, [1, 0, 3, 2, 4])
    same(twin(x)[0].detach(), layer(x)[0].detach())
    assert twin.topology == layer.topology
    fewer = take_experts(layer, [0, 1, 3, 4])
    assert [branch.experts for branch in fewer.topology.branches] == [(0, 1, 3), (2, 3)]
    with pytest.raises(ConfigError, match="leave a gate without experts"):
        take_experts(layer, [0, 1])


def test_the_layer_keeps_all_else():
    layer = MoE(
        router_of("sigmoid"),
        bank_of("mlp"),
        shared=bank_of("mlp", 1),
        capacity=0.5,
        drop="probability",
    )
    layer.router.requires_grad_(False)
    twin = take_experts(layer, [3, 3, 0, 1, 2])
    assert (twin.capacity, twin.drop, twin.training) == (0.5, "probability", layer.training)
    assert not any(p.requires_grad for p in twin.router.parameters())
    assert twin.shared is not layer.shared
    same(next(twin.shared.parameters()), next(layer.shared.parameters()))
    twin.bank.up.data.zero_()
    assert layer.bank.up.abs().sum() > 0
    assert twin.router.bias.value.dtype == layer.router.bias.value.dtype


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([], "expected one or more experts"),
        ([4], r"index=4 is invalid: expected an integer in \[0, 3\]"),
        ([0], r"k=2 is invalid: expected an integer in \[1, num_experts=1\]"),
    ],
)
def test_impossible_selections(index, message):
    with pytest.raises(ConfigError, match=message):
        take_experts(layer_of("topk"), index)


def test_experts_of_recorded_routes_cannot_be_selected():
    layer = MoE(router_of("replay"), bank_of("mlp"))
    with pytest.raises(ConfigError, match="router=replay: its routes name the experts of another"):
        take_experts(layer, [0, 1])
