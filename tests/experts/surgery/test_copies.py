"""Copies of experts: lost ones are found and put back, with the state of the optimizer."""

import pytest
import torch

import experts
from experts import MoE, copy_experts, lost_experts, restore_experts
from routers import ConfigError

from ..cases import EXPERTS, bank_of, call, router_of, rows_for

STACKED = [name for name in experts.available() if bank_of(name).expert_parameters]


def trained(bank, steps=3):
    """A layer after steps of Adam, and the optimizer."""
    layer = MoE(router_of("soft_mixture"), bank_of(bank)).train()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    step(layer, optimizer, steps)
    return layer, optimizer


def step(layer, optimizer, steps):
    for seed in range(steps):
        call(layer, rows_for(layer.bank, 6, seed).detach())[0].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def stacks(layer):
    return [layer.bank.get_parameter(name) for name in layer.bank.expert_parameters]


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
@pytest.mark.parametrize("bank", STACKED)
def test_a_lost_expert_is_that_of_the_copy_and_others_stay(bank, value):
    layer, optimizer = trained(bank)
    copies = copy_experts(layer, optimizer.state)
    then = [(p.detach().clone(), optimizer.state[p]["exp_avg"].clone()) for p in stacks(layer)]
    step(layer, optimizer, 2)
    for expert in (1, 3):
        for values in layer.bank.parameters_of(expert):
            values.data.fill_(value)
    now = [(p.detach().clone(), optimizer.state[p]["exp_avg"].clone()) for p in stacks(layer)]
    assert lost_experts(layer).tolist() == [False, True, False, True]
    restore_experts(layer, copies, [1, 3], optimizer.state)
    assert not lost_experts(layer).any()
    for stack, before, after in zip(stacks(layer), then, now, strict=True):
        held = stack.detach(), optimizer.state[stack]["exp_avg"]
        for own, old, lost in zip(held, before, after, strict=True):
            assert own[[1, 3]].equal(old[[1, 3]])
            assert own[[0, 2]].equal(lost[[0, 2]])
            assert not own.equal(old)


def test_one_bad_number_is_a_loss_and_a_sum_is_none():
    """A stack of zeros, sums of 0 and sums beyond the largest number."""
    layer, _ = trained("mlp")
    layer.bank.up.data[1] = 0
    layer.bank.down.data[2, 0, 0] = -torch.inf
    for stack in stacks(layer):
        stack.data[0] = 0
        stack.data[0, 0, :2] = torch.tensor([1.0, -1.0])
        stack.data[3] = torch.finfo(stack.dtype).max
    assert lost_experts(layer).tolist() == [False, False, True, False]


def test_state_that_is_younger_than_the_copies_becomes_zero():
    layer, optimizer = trained("mlp", steps=0)
    copies = copy_experts(layer, optimizer.state)
    step(layer, optimizer, 2)
    restore_experts(layer, copies, [2], optimizer.state)
    state = optimizer.state[layer.bank.up]
    assert state["exp_avg"][2].abs().max() == 0
    assert state["exp_avg"][[0, 1, 3]].abs().max() > 0
    assert state["step"] == 2


def test_what_has_no_copies_is_refused():
    layer, _ = trained("mlp", steps=0)
    wider = MoE(router_of("topk"), bank_of("mlp", hidden=5))
    with pytest.raises(ConfigError, match=r"copies are of experts of shapes .*\(4, 8, 5\)"):
        restore_experts(layer, copy_experts(wider), [0])
    with pytest.raises(ConfigError, match="Mixed has experts of several forms"):
        copy_experts(MoE(router_of("topk"), bank_of("mixed")))
    assert len(layer.bank.up) == EXPERTS
