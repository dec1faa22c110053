"""Optimizers and schedules, by hand."""

import math

import pytest
import torch
from torch import nn

from tasks.config.schema import OptimizerConfig
from tasks.training.optimizers import OPTIMIZERS, build_optimizer, learning_rate_factor

from ..cases import rows_of, train


def factors(schedule, warmup, total=10):
    config = OptimizerConfig("adamw", 1.0, 0.0, warmup, schedule)
    return [learning_rate_factor(config, total, step) for step in range(total + 1)]


def test_warm_up_then_cosine():
    up = [0.5, 1.0]
    down = [0.5 + 0.5 * math.cos(math.pi * done / 8) for done in range(9)]
    assert factors("cosine", 0.2) == pytest.approx(up + down)


def test_linear():
    assert factors("linear", 0.0) == pytest.approx([1 - done / 10 for done in range(11)])


def test_constant():
    assert factors("constant", 0.5) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_short_trainings(schedule, total):
    found = factors(schedule, 0.9, total)
    assert all(0 <= factor <= 1 for factor in found)
    assert max(found[:total]) == 1  # the full rate is reached


def test_never_below_zero_after_the_end():
    config = OptimizerConfig("adamw", 1.0, 0.0, 0.0, "linear")
    assert learning_rate_factor(config, 10, 25) == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_vectors_do_not_decay(name):
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    config = OptimizerConfig(name, 0.1, 0.5, 0.0, "constant")
    optimizer = build_optimizer(config, [*model.parameters(), frozen])
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay == {
        id(model[0].weight): 0.5,
        id(model[0].bias): 0.0,
        id(model[1].weight): 0.0,
        id(model[1].bias): 0.0,
    }
    assert all(group["lr"] == 0.1 for group in optimizer.param_groups)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_rates_of_a_run(tmp_path, accumulate):
    """Four steps: one to warm up, then a straight line to 0; logged after each step."""
    train(
        tmp_path / "run",
        "optimizer.lr=1.0",
        "optimizer.name=sgd",
        "optimizer.warmup=0.25",
        "optimizer.schedule=linear",
        "trainer.max_steps=4",
        f"trainer.accumulate_grad_batches={accumulate}",
        "trainer.log_every_n_steps=1",
    )
    rates = [float(row["lr"]) for row in rows_of(tmp_path / "run")]
    assert rates == pytest.approx([1, 2 / 3, 1 / 3, 0], abs=1e-12)


def test_schedule_spans_the_epochs(tmp_path):
    """The partial group of batches at an epoch's end is a step too."""
    train(
        tmp_path / "run",
        "optimizer.schedule=linear",
        "trainer.batch_size=300",
        "trainer.max_steps=-1",
        "trainer.max_epochs=2",
        "trainer.accumulate_grad_batches=3",
        "trainer.log_every_n_steps=1",
    )
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["lr"]) == 0
    assert all(row["train/loss"] for row in rows)
