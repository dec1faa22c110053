"""Balance terms of a whole optimizer step know of its micro-steps and of all ranks."""

from dataclasses import replace

import pytest
import torch

import routers
from tasks.training.module import RoutedModule

from .cases import train

GLOBAL = "losses={switch_global: 0.01}"


def noted(monkeypatch):
    """Every routing that balance terms saw in training, layer by layer."""
    seen = []
    balance_loss = RoutedModule.balance_loss

    def note(module, routings):
        if module.training:
            seen.append(routings)
        return balance_loss(module, routings)

    monkeypatch.setattr(RoutedModule, "balance_loss", note)
    return seen


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_step_holds_its_micro_steps_so_far(tmp_path, monkeypatch, accumulate):
    seen = noted(monkeypatch)
    accumulation = f"trainer.accumulate_grad_batches={accumulate}"
    train(tmp_path / "run", "router=topk", GLOBAL, accumulation)
    assert len(seen) >= 4
    for number, routings in enumerate(seen):
        first = number - number % accumulate
        for layer, routing in enumerate(routings):
            parts = [routers.step_sums(seen[at][layer]) for at in range(first, number + 1)]
            assert torch.equal(routing.step_statistics, sum(parts))


def test_a_step_is_summed_over_ranks(tmp_path, monkeypatch):
    seen = noted(monkeypatch)
    monkeypatch.setattr("tasks.training.module.sum_over_ranks", lambda counts: 2 * counts)
    train(tmp_path / "run", "router=topk", GLOBAL)
    for routing in seen[0]:
        assert torch.equal(routing.step_statistics, 2 * routers.step_sums(routing))


def test_nothing_is_summed_that_no_term_reads(tmp_path, monkeypatch):
    seen = noted(monkeypatch)
    train(tmp_path / "run", "router=topk", "losses={switch: 0.01}")
    assert all(routing.step_statistics is None for routings in seen for routing in routings)


def test_sums_keep_their_type_where_the_network_is_cast(tmp_path):
    from .test_module import run_of

    module = run_of(GLOBAL).module.to(torch.bfloat16)
    (sums,) = module.step_sums
    assert sums.sums.dtype == torch.float64


def test_a_term_without_its_step_is_not_that_of_the_step():
    torch.manual_seed(0)
    router = routers.build("topk", 4, 6)
    one, other = (router(routers.Items(torch.randn(9, 4))) for _ in range(2))
    step = routers.step_sums(one) + routers.step_sums(other)
    term = routers.LOSSES["switch_global"]
    assert term(one) != term(replace(one, step_statistics=step))
