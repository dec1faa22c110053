"""Optimizers and schedules, by hand."""

import math
import re

import pytest
import torch
from torch import nn

from routers import ConfigError
from tasks import main
from tasks.config.schema import OptimizerConfig
from tasks.training.muon import Muon
from tasks.training.optimizers import (
    OPTIMIZERS,
    build_optimizer,
    check_optimizer,
    learning_rate_factor,
)
from tasks.training.schedules import SCHEDULES, build_schedule

from ..cases import NARROW, TINY, assert_same_run, checkpoint_of, rows_of, signal_at, train


def factors(schedule, warmup, total=10):
    function = build_schedule(schedule)
    return [learning_rate_factor(function, warmup, total, step) for step in range(total + 1)]


def test_warm_up_then_cosine():
    up = [0.5, 1.0]
    down = [0.5 + 0.5 * math.cos(math.pi * done / 8) for done in range(9)]
    assert factors("cosine", 0.2) == pytest.approx(up + down)


def test_linear():
    assert factors("linear", 0.0) == pytest.approx([1 - done / 10 for done in range(11)])


def test_constant():
    assert factors("constant", 0.5) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3])
def test_short_trainings(schedule, total):
    found = factors(schedule, 0.9, total)
    assert all(0 <= factor <= 1 for factor in found)
    assert max(found[:total]) == 1  # the full rate is reached


def test_never_below_zero_after_the_end():
    assert learning_rate_factor(build_schedule("linear"), 0.0, 10, 25) == 0


@pytest.mark.parametrize("name", sorted({*OPTIMIZERS} - {"rprop"}))  # which has no decay
def test_vectors_do_not_decay(name):
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(2, 2).requires_grad_(False))
    config = OptimizerConfig(name, 0.1, 0.5, 0.0, "constant")
    check_optimizer(config)
    optimizer = build_optimizer(config, model)
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


def test_schedules_from_outside():
    """A function, a class with options, and options of a schedule of ours."""
    assert build_schedule("spare_parts:halved")(0.5) == 0.5
    assert build_schedule({"name": "spare_parts:Flat", "level": 0.25})(0.5) == 0.25
    assert factors({"name": "step", "at": [0.5], "factor": 0.5}, 0.0, 4) == [1, 1, 0.5, 0.5, 0.5]


def test_muon_is_that_of_torch_for_each_matrix_of_a_stack():
    torch.manual_seed(0)
    stack, bias = nn.Parameter(torch.randn(2, 4, 3)), nn.Parameter(torch.randn(3))
    alone = [nn.Parameter(each.clone()) for each in stack.detach()]
    other = nn.Parameter(bias.detach().clone())
    ours = Muon([{"params": [("up", stack), ("bias", bias)]}], lr=0.1)
    muon = torch.optim.Muon(alone, lr=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([other], lr=0.1, weight_decay=0.1)
    for _ in range(3):
        stack.grad, bias.grad, other.grad = torch.randn(2, 4, 3), torch.ones(3), torch.ones(3)
        for each, gradient in zip(alone, stack.grad, strict=True):
            each.grad = gradient.clone()
        for optimizer in (ours, muon, adamw):
            optimizer.step()
    assert torch.equal(stack, torch.stack([*alone]))
    torch.testing.assert_close(bias, other)


def test_groups_and_freeze(tmp_path):
    """Rates and decay by group, and exact resume."""
    groups = (
        "{router: {lr: 0.5}, experts: {betas: [0.9, 0.9]}, "
        "backbone.head: {lr: 0.25, weight_decay: 0}, '*.bias': {lr: 0.1, weight_decay: 0.3}}"
    )
    settings = [
        "optimizer.name=muon",
        f"optimizer.groups={groups}",
        "optimizer.momentum=0.9",
        "optimizer.warmup=0",
        "optimizer.schedule={name: linear, floor: 0.5}",
        "freeze=[backbone.embed]",
        "trainer.log_every_n_steps=6",
    ]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, *settings)
    with signal_at(3):
        assert main([*TINY, NARROW, f"out={cut}", *settings]) == 130
    assert main([f"resume={cut}"]) == 0
    assert_same_run(whole, cut)

    (row,) = [row for row in rows_of(whole) if row["lr"]]
    assert [float(row[f"lr/{name}"]) for name in ("router", "backbone.head", "*.bias")] == [
        pytest.approx(rate / 2) for rate in (0.5, 0.25, 0.1)
    ]
    saved = checkpoint_of(whole)
    of = {
        name: g for g in saved["optimizer_states"][0]["param_groups"] for name in g["param_names"]
    }
    assert not {"backbone.embed.weight", "backbone.embed.bias"} & of.keys()
    assert (
        of["backbone.head.weight"]["weight_decay"] == of["backbone.head.bias"]["weight_decay"] == 0
    )
    assert of["backbone.blocks.0.moe.bank.up"]["weight_decay"] == 0.05
    assert of["backbone.blocks.0.moe.bank.up"]["muon"]
    assert not of["backbone.head.weight"]["muon"]
    by_pattern = {
        pattern: {name for name, group in of.items() if group.get("pattern") == pattern}
        for pattern in ("router", "experts", "backbone.head", "*.bias")
    }
    assert by_pattern["router"] == {name for name in of if ".router." in name} != set()
    assert by_pattern["experts"] == {name for name in of if ".bank." in name} != set()
    assert by_pattern["backbone.head"] == {"backbone.head.weight", "backbone.head.bias"}
    assert {of[name]["weight_decay"] for name in by_pattern["*.bias"]} == {0.3}


@pytest.mark.parametrize(
    ("name", "given", "left"),
    [
        ("sgd", {}, {"momentum": 0.9, "nesterov": True, "fused": True}),
        ("sgd", {"momentum": 0.8}, {"momentum": 0.8, "nesterov": True}),
        ("sgd", {"momentum": 0}, {"momentum": 0, "nesterov": False, "fused": True}),
        ("sgd", {"dampening": 0.5}, {"momentum": 0.9, "nesterov": False}),
        ("sgd", {"foreach": True}, {"foreach": True, "fused": False, "nesterov": True}),
        ("adamw", {"foreach": False}, {"foreach": False, "fused": True}),
        ("adamw", {"differentiable": True}, {"differentiable": True, "fused": False}),
    ],
)
def test_presets_give_way(name, given, left):
    config = OptimizerConfig(name, 0.1, 0.0, 0.0, "constant", options=given)
    check_optimizer(config)
    assert left.items() <= build_optimizer(config, nn.Linear(2, 2)).defaults.items()


def test_what_is_given_does_not_give_way():
    given = {"momentum": 0, "nesterov": True}
    config = OptimizerConfig("sgd", 0.1, 0.0, 0.0, "constant", options=given)
    with pytest.raises(ConfigError, match=r"optimizer\.momentum=0.*Nesterov momentum requires"):
        build_optimizer(config, nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        ({"name": "linear", "floor": 0.2}, 0.6),
        ({"name": "cosine", "floor": 0.2}, 0.6),
        ({"name": "polynomial", "power": 3, "floor": 0.2}, 0.2 + 0.8 / 8),
        ({"name": "trapezoid", "decay": 0.8, "floor": 0.2}, 0.2 + 0.8 * 0.5 / 0.8),
        ({"name": "inverse_sqrt", "start": 0.125}, 0.5),
        ({"name": "inverse_sqrt", "start": 0.75}, 1.0),
        ({"name": "step", "at": [0.2, 0.5, 0.7], "factor": 0.3}, 0.09),
    ],
)
def test_factor_after_half_of_the_steps(schedule, factor):
    assert build_schedule(schedule)(0.5) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"name": "linear", "floor": 1.5}, "floor=1.5 is invalid: expected a number in [0, 1]"),
        ({"name": "cosine", "floor": -1}, "floor=-1 is invalid"),
        ({"name": "polynomial", "floor": 2}, "floor=2 is invalid"),
        ({"name": "polynomial", "power": 0}, "power=0 is invalid: expected a finite number > 0"),
        ({"name": "trapezoid", "floor": math.nan}, "floor=nan is invalid"),
        ({"name": "trapezoid", "decay": 3}, "decay=3 is invalid"),
        ({"name": "inverse_sqrt", "start": 0}, "start=0 is invalid: expected a number in (0, 1]"),
        ({"name": "step", "factor": -0.1}, "factor=-0.1 is invalid"),
        ({"name": "step", "at": [0.5, 5]}, "at=[0.5, 5] is invalid: expected numbers in [0, 1]"),
    ],
)
def test_options_of_schedules_out_of_range(schedule, words):
    with pytest.raises(ConfigError, match=re.escape(f"optimizer.schedule.{words}")):
        build_schedule(schedule)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("optimizer.name=torch:nn", "optimizer.name=torch:nn: "),
        ("optimizer.name=lbfgs", "optimizer.name=lbfgs: unknown"),
        ("optimizer.beta=[0.9, 0.9]", "optimizer.beta: unknown; did you mean 'betas'?"),
        ("optimizer.eps=small", "optimizer.eps=small: expected float, got str"),
        ("optimizer.betas=[0.9, 1.5]", "optimizer.betas=[0.9, 1.5]: Invalid beta parameter"),
        ("optimizer.name=rprop", "optimizer.weight_decay=0.05 is invalid: expected 0"),
        ("optimizer.schedule={name: cosine, flor: 0.1}", "did you mean 'floor'?"),
        ("optimizer.schedule=spare_parts:Flat", "optimizer.schedule.level: required"),
        ("optimizer.schedule={name: cosine, floor: -1}", "schedule.floor=-1 is invalid: expected"),
        ("optimizer.momentum=0.8", "momentum: optimizer.name=adamw has no such option; remove it"),
        ("optimizer.groups={routr: {lr: 1}}", "optimizer.groups.routr: 'routr' selects no"),
        ("optimizer.groups={backbone.hed: {lr: 1}}", "such as backbone.head"),
        ("optimizer.groups={router: {rl: 1}}", "optimizer.groups.router.rl: unknown"),
        ("optimizer.groups={router: {lr: 0}}", "optimizer.groups.router.lr=0 is invalid"),
        ("optimizer.groups={router: 3}", "optimizer.groups.router=3 is invalid: expected options"),
        (
            "optimizer.groups={experts: {lr: 1}, '*.moe.bank.up': {lr: 2}}",
            "optimizer.groups.*.moe.bank.up: selects only parameters of earlier groups",
        ),
        ("freeze=[expert]", "freeze: 'expert' selects no parameter: expected router, experts"),
        ("freeze=[router, experts, backbone]", "nothing is left to train"),
        ("freeze=router", "freeze=router: expected list of str"),
    ],
)
def test_refused_before_work(tmp_path, capsys, setting, words):
    assert main([*TINY, NARROW, f"out={tmp_path / 'run'}", setting]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_moments_of_parameters_that_had_no_axis_are_loaded():
    """Of checkpoints from before the temperature of cosine gates had one."""
    parameter = nn.Parameter(torch.ones(1))
    config = OptimizerConfig("adamw", 0.1, 0.0, 0.0, "constant")
    optimizer = build_optimizer(config, nn.ParameterList([parameter]))
    parameter.grad = torch.ones(1)
    optimizer.step()
    state = optimizer.state_dict()
    for name in ("exp_avg", "exp_avg_sq"):
        state["state"][0][name] = state["state"][0][name].view(())
    optimizer.load_state_dict(state)
    optimizer.step()
    assert optimizer.state[parameter]["exp_avg"].shape == (1,)
    assert optimizer.state[parameter]["step"].shape == ()
