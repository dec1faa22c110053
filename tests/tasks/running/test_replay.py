"""Runs that replay the routes of another run: to the last bit, by layer, resumed, and refused."""

from dataclasses import replace

import pytest
import torch

import tasks
from experts import record
from routers import ConfigError
from tasks import TASKS, Run, compose, main, routed_layers

from ..cases import NARROW, TINY, assert_same_run, checkpoint_of, result_of, signal_at, train

STEPS = "trainer.max_steps=3"
#: Sources: routes by item, by expert and by mask, with drops, by ids, and of single experts.
SOURCES = {
    "topk": ("router=topk", "moe.capacity=0.7", "moe.renormalize=true"),
    "expert_choice": ("router=expert_choice",),
    "top_p": ("router=top_p", "moe.capacity=0.9"),
    "hash": ("router=hash",),
    "mixed": ("router=noisy_topk", "layers.1={router: relu, moe: {num_experts: 4}}"),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Trains a source when it is first asked for; returns its folder."""
    found, folder = {}, tmp_path_factory.mktemp("sources")

    def trained(name, *overrides):
        if name not in found:
            found[name] = folder / name
            train(found[name], STEPS, *(overrides or SOURCES[name]))
        return found[name]

    return trained


def replaying(folder, *overrides):
    return (*TINY, NARROW, "router=replay", f"router.of={folder}", *overrides)


def batch_of(run, rows=48):
    return run.module.prepare_batch({n: values[:rows] for n, values in run.data.val.items()})


def cast(batch, dtype):
    return {n: v.to(dtype) if v.is_floating_point() else v for n, v in batch.items()}


@pytest.mark.parametrize("name", SOURCES)
def test_recorded_weights_and_the_same_network_give_its_outputs_to_the_last_bit(source, name):
    folder, moe = source(name), [text for text in SOURCES[name] if not text.startswith("router")]
    given = [text.replace("router: relu, ", "") for text in moe]
    own = replaying(folder, "router.weighting=recorded", f"init={folder}", "seed=5", *given)
    run, other = Run(compose(own)), tasks.load(folder)
    run.initialize()
    for dtype in (torch.float32, torch.float64):
        batch = cast(batch_of(run), dtype)
        wanted, routings = other.module.backbone.to(dtype)(batch)
        before = torch.get_rng_state()
        output, found = run.module.backbone.to(dtype).train()(batch)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(output, wanted)
        for one, two in zip(found, routings, strict=True):
            assert torch.equal(one.weight, two.weight)
            assert torch.equal(one.requested_load, two.requested_load)
    assert not any(layer.router.state_dict() for layer in routed_layers(run.module.backbone))


def test_a_gate_learns_other_weights_of_the_same_experts(source, tmp_path):
    """Without parameters or FLOPs of the other network; saved, tested and resumed as any run."""
    folder, out = source("topk"), tmp_path / "run"
    command = [*replaying(folder, STEPS, "moe.capacity=0.7"), "seed=5"]
    assert main([*command, f"out={out}"]) == 0
    result, other = result_of(out), result_of(folder)
    assert result["router"] == "replay"
    for key in ("flops_per_item", "parameters", "router_parameters"):
        assert result["compute"][key] == other["compute"][key]
    assert (
        result["load"] == other["load"] or result["layers"][0]["load"] == other["layers"][0]["load"]
    )
    assert checkpoint_of(out)["state_dict"].keys() == checkpoint_of(folder)["state_dict"].keys()
    run = tasks.load(out)
    assert run.test()["score"]["value"] == result["score"]["value"]
    start = Run(compose(command)).module.backbone.state_dict()
    learned = run.module.backbone.state_dict()
    gates = [name for name in start if "router.gate" in name]
    assert len(gates) == 2
    assert not any(torch.equal(start[name], learned[name]) for name in gates)
    stopped = tmp_path / "stopped"
    with signal_at(2):
        assert main([*command, f"out={stopped}"]) != 0
    assert main([f"resume={stopped}"]) == 0
    assert_same_run(stopped, out)


def test_a_single_layer_and_the_run_of_a_run(source, tmp_path):
    folder, between = source("mixed"), tmp_path / "between"
    layers = "layers.1={router: {name: replay, of: %s}, moe: {num_experts: 4}}"
    train(between, STEPS, "seed=3", layers % folder)
    run = Run(compose([*TINY, NARROW, "seed=4", layers % between]))
    batch = batch_of(run)
    other = tasks.load(folder).module.backbone
    with record(run.module.backbone) as own, record(other) as wanted:
        run.module.backbone.eval()(batch)
        other(batch)
    same = [torch.equal(a[-1].assigned_mask, b[-1].assigned_mask)
            for a, b in zip(own.values(), wanted.values(), strict=True)]  # fmt: skip
    assert same == [False, True]


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_precision(source, tmp_path, precision):
    given = ("router=replay", f"router.of={source('topk')}", f"trainer.precision={precision}")
    assert 0 <= train(tmp_path / "run", STEPS, *given)["score"]["value"] <= 1


def test_routes_of_several_gates(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.two_digits.PAIRS", (500, 200, 200))
    small = ("task=two_digits", "task.dim=16", "task.depth=1", "moe.num_experts=4", STEPS)
    train(tmp_path / "one", *small)
    given = ("router=replay", f"router.of={tmp_path / 'one'}", "seed=2")
    train(tmp_path / "two", *small, *given)
    loads = [result_of(tmp_path / name)["layers"][0]["load"] for name in ("one", "two")]
    assert loads[0] == loads[1]


REFUSED = [
    ("topk", ("router.of=null",), "router=replay: needs recorded routes, and router.of is missing"),
    ("nothing", (), "no run is there"),
    (
        "topk",
        ("task=permuted_digits", "task.model=vit"),
        "was trained on task=digits, and this run is of task=perm",
    ),
    ("topk", ("moe.num_experts=4",), "layer 0: the recorded routes are to 8 experts, and the"),
    ("topk", ("task.model.depth=3",), "has 2 routed layers, and layer 2 here"),
    ("topk", ("task.model.overlap=0",), "routes 32 items of a batch, and the layer here 8"),
    (
        "hash",
        ("task.ids=position", "router.weighting=recorded"),
        "prepares other batches, which differ in ids",
    ),
    ("hash", (), "router.weighting=renormalized is invalid: expected probability or recorded"),
    ("soft_moe", (), "the recorded routes are through slots"),
    ("dense", (), "is a dense control (moe.control=iso_flop) and has no routes"),
]


@pytest.mark.parametrize(
    ("name", "overrides", "message"), REFUSED, ids=lambda value: str(value)[:30]
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    source, tmp_path, capsys, name, overrides, message
):
    others = {"soft_moe": ("router=soft_moe",), "dense": ("moe.control=iso_flop",)}
    folder = tmp_path / name if name == "nothing" else source(name, *others.get(name, ()))
    capsys.readouterr()
    assert main([*replaying(folder, *overrides), f"out={tmp_path / 'run'}"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "router.of" in said or "router.weighting" in said
    assert not (tmp_path / "run").exists()


def test_other_data_is_refused(source, monkeypatch):
    """This run reads its data first, and it is another than that of the other run."""
    config, digits, read = compose(replaying(source("topk"))), TASKS["digits"], []

    def data(task):
        read.append(original(task))
        return read[-1] if len(read) > 1 else replace(read[-1], sha256="another")

    original = digits.data
    monkeypatch.setattr(digits, "data", data)
    with pytest.raises(
        ConfigError, match=r"its data .* is not that of this run .*: sha256 differs"
    ):
        Run(config)


def test_a_run_that_replays_keeps_its_experts(source, tmp_path, capsys):
    out, edited = tmp_path / "run", tmp_path / "edited"
    train(out, STEPS, "router=replay", f"router.of={source('topk')}")
    assert main(["edit", str(out), "edits=[{prune: {keep: 4}}]", f"out={edited}"]) == 2
    assert "its routes name the experts of another network" in capsys.readouterr().err
    assert not edited.exists()
