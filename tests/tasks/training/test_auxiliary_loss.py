"""Auxiliary losses at level ``step`` read sums over micro-batches and ranks."""

from dataclasses import replace
from functools import partial

import pytest
import torch

import experts
import routers
from experts import MoE
from routers import LOSSES, ConfigError
from routers.losses import inputs_of, loss_of
from tasks.config.losses import WeightedLoss
from tasks.training import auxiliary_loss
from tasks.training.auxiliary_loss import AuxiliaryLoss

from ..cases import train

STEP = "losses={switch: {weight: 0.01, level: step}}"


def noted(monkeypatch):
    """The routings that the losses read in training: for each batch, layer by layer."""
    seen = []
    in_training, call = AuxiliaryLoss.in_training, WeightedLoss.__call__

    def start(loss, routings):
        seen.append([])
        return in_training(loss, routings)

    def note(loss, routing, layer):
        if seen:
            seen[-1].append(routing)
        return call(loss, routing, layer)

    monkeypatch.setattr(AuxiliaryLoss, "in_training", start)
    monkeypatch.setattr(WeightedLoss, "__call__", note)
    return seen


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_step_holds_its_micro_steps_so_far(tmp_path, monkeypatch, accumulate):
    seen = noted(monkeypatch)
    accumulation = f"trainer.accumulate_grad_batches={accumulate}"
    train(tmp_path / "run", "router=topk", STEP, accumulation)
    assert len(seen) >= 4
    for number, routings in enumerate(seen):
        first = number - number % accumulate
        for layer, routing in enumerate(routings):
            parts = [routers.step_sums(seen[at][layer]) for at in range(first, number + 1)]
            assert torch.equal(routing.step_statistics, sum(parts))


def test_a_step_is_summed_over_ranks(tmp_path, monkeypatch):
    seen = noted(monkeypatch)
    monkeypatch.setattr(auxiliary_loss, "sum_over_ranks", lambda counts: 2 * counts)
    train(tmp_path / "run", "router=topk", STEP)
    for routing in seen[0]:
        assert torch.equal(routing.step_statistics, 2 * routers.step_sums(routing))


def test_nothing_is_summed_that_no_term_reads(tmp_path, monkeypatch):
    seen = noted(monkeypatch)
    train(tmp_path / "run", "router=topk", "losses={switch: 0.01}")
    assert all(routing.step_statistics is None for routings in seen for routing in routings)


def test_sums_keep_their_type_where_the_network_is_cast(tmp_path):
    from .test_module import run_of

    module = run_of(STEP).module.to(torch.bfloat16)
    assert module.auxiliary_loss.step_sums.sums.dtype == torch.float64


def test_a_term_without_its_step_is_not_that_of_the_step():
    torch.manual_seed(0)
    router = routers.build("topk", 4, 6)
    one, other = (router(routers.Items(torch.randn(9, 4))) for _ in range(2))
    step = routers.step_sums(one) + routers.step_sums(other)
    switch = partial(routers.LOSSES["switch"], level="step")
    assert switch(one) != switch(replace(one, step_statistics=step))


def test_losses_read_what_they_name(monkeypatch):
    def of_gate(routing, layer, /, *, power=2):
        return layer.router.gate.weight.abs().pow(power).sum()

    def of_outputs(routing, outputs, /):
        return outputs.square().mean()

    for loss in (of_gate, of_outputs):
        monkeypatch.setitem(LOSSES._parts, loss.__name__, loss)
    assert inputs_of(of_gate) == ("layer",)
    assert LOSSES.options("of_gate") == {"power": 2}
    layer = MoE(routers.build("topk", 6, 3), experts.build("mlp", 6, 3))
    loss = AuxiliaryLoss([{"of_gate": {"weight": 0.5, "power": 1}, "of_outputs": 2.0}], [layer])
    routing = layer(torch.randn(5, 6))[1]
    wanted = 0.5 * layer.router.gate.weight.abs().sum() + 2 * routing.outputs.square().mean()
    torch.testing.assert_close(loss([routing]), wanted)
    loss.in_training([routing]).backward()
    assert layer.router.gate.weight.grad.any()
    assert layer.bank.up.grad.any()
    with pytest.raises(ConfigError, match=r"losses\.of_gate: reads layer: call"):
        loss_of(of_gate, routing, None)
    with pytest.raises(ConfigError, match=r"losses\.of_outputs: reads outputs: set layer.keep_out"):
        loss_of(of_outputs, replace(routing, outputs=None), layer)
    AuxiliaryLoss([{"of_outputs": 0}], [layer])
    assert not layer.keep_outputs
