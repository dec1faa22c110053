"""Merged experts: parts, weights and load."""

import pytest
import torch

import experts
import routers
from experts import MoE
from routers import ConfigError, Items, Routing


def test_a_group_shares_the_weights_of_its_mean():
    router = routers.build("merged", 3, 5)
    x = torch.randn(6, 3)
    routing = router(Items(x, groups=2))
    for group in (0, 1):
        mean = x[3 * group : 3 * group + 3].mean(0, keepdim=True)
        expected = (mean @ router.gate.weight.t()).softmax(-1)
        torch.testing.assert_close(routing.execution.weight[group : group + 1], expected)
        rows = routing.weight.view(5, 6).t()[3 * group : 3 * group + 3]  # expert by expert
        torch.testing.assert_close(rows, expected.expand(3, -1))


def test_over_items_every_item_has_its_own():
    router = routers.build("merged", 3, 5, over="item")
    x = torch.randn(6, 3)
    routing = router(Items(x, groups=2))
    torch.testing.assert_close(routing.execution.weight, (x @ router.gate.weight.t()).softmax(-1))


def test_load_is_gate_mass_in_whole_rows():
    items = Items(torch.zeros(7, 1), mask=torch.arange(7) != 3)
    routing = Routing.by_merge(items, torch.tensor([[0.5, 0.3, 0.2]]))
    # 6 rows: 3, 1.8 and 1.2; the one left over goes to the larger remainder
    assert routing.load.tolist() == [3, 2, 1]
    assert routing.importance.tolist() == pytest.approx([3.0, 1.8, 1.2])
    assert routing.limit(0.1) is routing


def test_the_layer_is_one_network_of_mean_parameters():
    torch.manual_seed(0)
    layer = MoE(routers.build("merged", 4, 3), experts.build("mlp", 4, 3, hidden=5))
    x = torch.randn(2, 6, 4)
    y, routing = layer(x)
    for group, p in enumerate(routing.execution.weight):
        up = sum(p[e] * layer.bank.up[e] for e in range(3))
        down = sum(p[e] * layer.bank.down[e] for e in range(3))
        expected = torch.nn.functional.gelu(x[group] @ up) @ down
        torch.testing.assert_close(y[group], expected)


@pytest.mark.parametrize("bank", ["null", "mixed"])
def test_experts_of_several_forms_are_refused(bank):
    with pytest.raises(ConfigError, match="experts of several forms"):
        MoE(routers.build("merged", 4, 4), experts.build(bank, 4, 4))


def test_stacks_hold_what_experts_own():
    """And nothing else: a bank that names too little would merge a part of its experts."""
    for name in experts.available():
        bank = experts.build(name, 8, 4)
        own = sum(bank.get_parameter(part).numel() for part in bank.expert_parameters)
        assert not bank.expert_parameters or own == sum(bank.parameters_per_expert()), name
        assert all(bank.get_parameter(part).shape[0] == 4 for part in bank.expert_parameters), name


def test_bad_options():
    with pytest.raises(ConfigError, match=r"router.over=grup: unknown; did you mean 'group'"):
        routers.build("merged", 4, 4, over="grup")


def test_parts_are_causal_with_a_gate_that_is():
    for over in ("item", "segment", "group"):
        assert routers.build("merged", 8, 4, over=over).traits.causal == (over != "group")
        assert not routers.build("merged", 8, 4, over=over, gate="attention").traits.causal
