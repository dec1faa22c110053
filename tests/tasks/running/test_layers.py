"""Runs whose layers differ: built, trained, resumed, loaded, tested, and their dense controls."""

import pytest
import torch

import tasks
from routers import LOSSES, ConfigError
from tasks import Run, build_backbone, build_task, compose, main, read_data, routed_layers

from ..cases import NARROW, TINY, assert_same_run, result_of, signal_at, train

#: Two layers with other routers, numbers of experts, widths and losses.
TWO = (
    "layers.0.router=hash",
    "layers.1={router: {k: 1, weighting: probability}, moe: {num_experts: 4}}",
    "layers.1.expert.hidden=8",
    "layers.1.losses.z=0.001",
    "trainer.max_steps=3",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("layers") / "run"
    train(out, *TWO)
    return out


@pytest.fixture(scope="module")
def task():
    built = build_task(compose(TINY))
    read_data(compose(TINY), built)
    return built


def weights(task, *overrides):
    backbone = build_backbone(compose([*TINY, NARROW, *overrides]), task)
    return backbone.state_dict()


def test_each_layer_has_its_own_parts(trained):
    result = result_of(trained)
    assert result["router"] == "hash+topk"
    assert [layer["router"] for layer in result["layers"]] == ["hash", "topk"]
    assert [len(layer["load"]) for layer in result["layers"]] == [8, 4]
    run = tasks.load(trained)
    layers = routed_layers(run.module.backbone)
    assert [layer.bank.hidden for layer in layers] == [16, 8]
    own = [{loss.name: loss.weight for loss in each} for each in run.module.auxiliary_loss.losses]
    assert own == [{}, {"switch": 0.01, "z": 0.001}]


def test_a_layer_adds_its_own_losses(trained):
    run = tasks.load(trained)
    module = run.module
    batch = module.prepare_batch({name: values[:32] for name, values in run.data.val.items()})
    with torch.no_grad():
        _, routings = module.backbone(batch)
    expected = 0.01 * LOSSES["switch"](routings[1]) + 0.001 * LOSSES["z"](routings[1])
    assert module.auxiliary_loss(routings).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_stopped_run_resumes_to_the_same_numbers(trained, tmp_path):
    out = tmp_path / "stopped"
    with signal_at(1):
        assert main([*TINY, NARROW, *TWO, f"out={out}"]) == 130
    assert main([f"resume={out}"]) == 0
    assert_same_run(trained, out)
    assert (trained / "config.yaml").read_text().replace(str(trained), str(out)) == (
        out / "config.yaml"
    ).read_text()


def test_a_trained_run_takes_other_settings_of_a_layer(trained):
    known = result_of(trained)
    again = tasks.load(trained).test()
    assert again["scores"] == known["scores"]
    assert again["layers"] == known["layers"]
    two = tasks.load(trained, "layers.1.router.k=2").test()["layers"]
    assert [sum(layer["load"]) / layer["items"] for layer in two] == [1, 2]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("layers.1.moe.num_experts=2", "changes what was trained"),
        ("layers.1.losses.z=1", "layers.1.losses.z=1: has no effect on a trained run"),
        ("layers.1.moe.expert_dropout=0.5", "only training uses it"),
        ("layers.2.router.k=1", "layers.2: 2 selects no layer; the network has 2 routed layers"),
    ],
)
def test_what_would_be_another_model_is_refused(trained, override, words):
    with pytest.raises(ConfigError) as caught:
        tasks.load(trained, override)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["layers.0.router.k=99"], "layers.0.router.k=99 is invalid: expected an integer in [1, n"),
        (["layers.1-.router.gate=liner"], "layers.1-.router.gate=liner: unknown; did you mean"),
        (["layers.1.moe.num_experts=1"], "layer 1: router.k=2 is invalid: expected an integer in"),
        (["layers.0,7.moe.shared=1"], "layers.0,7: 7 selects no layer; the network has 2 routed"),
        (["layers.0.router=task_gate"], "layers.0.router=task_gate: needs the task"),
    ],
)
def test_what_cannot_be_built_is_refused(task, overrides, message):
    with pytest.raises(ConfigError) as caught:
        weights(task, *overrides)
    assert str(caught.value).startswith(message)


def test_equal_settings_have_equal_weights(task):
    """By whichever key; and a layer has those of a run in which all layers are like it."""
    few = ("moe.num_experts=4", "router.k=1", "router.weighting=probability")
    eight, four = weights(task), weights(task, *few)
    by_layer = [f"layers.0-.{text}" for text in few]
    assert_equal(weights(task, *by_layer), four)
    mixed = weights(task, *(text.replace("0-", "1") for text in by_layer))
    second = [name for name in mixed if "blocks.1." in name]
    assert second
    assert_equal(mixed, {**eight, **{name: four[name] for name in second}})
    assert any(mixed[name].shape != eight[name].shape for name in second)


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name], values), name


@pytest.mark.parametrize("control", ["iso_flop", "iso_parameter"])
def test_each_layer_has_its_own_dense_control(control):
    settings = [*TINY, NARROW, "layers.1.moe.num_experts=16", "layers.1.router.k=4"]
    routed, dense = (Run(compose([*settings, *own])) for own in ([], [f"moe.control={control}"]))
    sizes = [
        [sum(p.numel() for p in layer.parameters()) for layer in routed_layers(run.module.backbone)]
        for run in (routed, dense)
    ]
    if control == "iso_parameter":
        assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    assert sizes[1][1] > 1.5 * sizes[1][0]
    assert not any(dense.module.auxiliary_loss.losses)
