"""Models of timm as backbones: outputs, training, resuming, scaling, and errors."""

import json

import pytest
import timm
import torch
from torch.nn import functional as F

import routers
from experts import MoE
from tasks import BACKBONES, Samples, build_backbone, build_task, compose, main, routed_layers

from ..tasks.cases import signal_at

ARGS = {"patch_size": 2, "embed_dim": 32, "depth": 2, "num_heads": 2}
SMALL = (
    *("task=digits", "task.model=timm", f"task.model.args={ARGS}", "trainer.batch_size=64"),
    *("moe.num_experts=4", "expert.hidden=16", "trainer.max_epochs=1", "trainer.max_steps=4"),
)
RESNET = ("task.model.architecture=resnet10t", "task.model.where=layer4.0.conv2")


def built(*overrides):
    config = compose([*SMALL, *overrides])
    task = build_task(config)
    return task, build_backbone(config, task)


def batch_of(task, rows=6):
    return task.collate({name: values[:rows] for name, values in task.data().train.items()})


def test_upcycled_outputs_are_those_of_timm():
    """With weights that sum to 1 copies of the dense modules give what the model gives."""
    plain = {"num_classes": 10, "in_chans": 1, "img_size": (8, 8), **ARGS}
    torch.manual_seed(0)
    dense = timm.create_model("vit_tiny_patch16_224", **plain).eval()

    def layer(shape, bank):
        assert shape == (1, 32)
        return MoE(routers.build("topk", 32, 4, k=2), bank(4))

    torch.manual_seed(0)
    samples = Samples("images", (1, 8, 8), 10, {})
    copies = BACKBONES["timm"](layer, samples, upcycle=True, args=ARGS).eval()
    x = torch.rand(6, 1, 8, 8)
    output, routings = copies({"x": x})
    torch.testing.assert_close(output, dense(x))
    assert [routing.num_items for routing in routings] == [6 * 17] * 2


def test_a_run_resumes(tmp_path):
    whole, half = tmp_path / "whole", tmp_path / "half"
    assert main([*SMALL, f"out={whole}"]) == 0
    with signal_at(2):
        assert main([*SMALL, f"out={half}"]) == 130
    assert main([f"resume={half}"]) == 0
    one, other = (json.loads((each / "result.json").read_text()) for each in (whole, half))
    assert one["score"] == other["score"]
    assert len(one["layers"]) == 2


def test_the_control_costs_as_much(tmp_path):
    results = []
    for name, control in (("routed", ()), ("dense", ("moe.control=iso_flop",))):
        given = (*SMALL, "trainer.max_steps=1", "expert.hidden=64", *control)
        assert main([*given, f"out={tmp_path / name}"]) == 0
        results.append(json.loads((tmp_path / name / "result.json").read_text()))
    routed, dense = (each["compute"]["flops_per_item"] for each in results)
    assert dense == pytest.approx(routed, rel=0.05)


def test_convolutions_route_whole_images():
    """Of any size: images are scaled as asked, and a router may read their ids."""
    options = (
        "task.model.args={}",
        *RESNET,
        "expert=conv",
        "router=hash",
        "task.model.size=[16,12]",
    )
    task, network = built(*options)
    seen = []
    network.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch = task.describe(batch_of(task))
    [layer] = routed_layers(network)
    layer.router.prepare(batch["ids"], task.features(batch))
    output, [routing] = network.eval()(batch)
    assert output.shape == (6, 10)
    assert routing.num_items == 6
    wanted = F.interpolate(batch["x"], (16, 12), mode="bilinear", antialias=True)
    torch.testing.assert_close(seen[0], wanted)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("task.model.architecture=vit_tinny_patch16_224",),
            "architecture=vit_tinny_patch16_224: unknown to timm; did you mean 'vit_tiny_",
        ),
        (("task.model.args={}",), "on images of 8x8: the model does not run on these samples ("),
        (("task.model.args={patchsize: 2}",), "task.model.args={'patchsize': 2}: vit_tiny_patch16"),
        (("task.model.args={num_classes: 2}",), "task.model.args.num_classes: the data decides it"),
        (("task.model.size=[8]",), "task.model.size=[8] is invalid: expected height and width"),
        (("task.model.where=*.ffn",), "task.model.where=*.ffn: no module matches; did you mean"),
        (("router=hash",), "router: needs ids of the items, and tokens of models of timm have"),
        (("router.k=9",), "error: router.k=9 is invalid: expected an integer in [1"),
        (
            ("task.model.upcycle=true", "moe.shared=1"),
            "error: moe.shared=1: experts that are copies of a module give its output together",
        ),
        (
            ("task.model.upcycle=true", "moe.control=iso_flop"),
            "error: moe.control=iso_flop: experts that are copies of a dense module have no dense",
        ),
        (
            ("task.model.args={}", *RESNET),
            "expert=mlp: its rows are (D), but this model gives samples of shape (512, 1, 1)",
        ),
    ],
)
def test_errors_before_work(tmp_path, capsys, overrides, message):
    assert main([*SMALL, *overrides, f"out={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    assert main([*SMALL, f"out={tmp_path / 'run'}"]) == 2
    wanted = "task.model=timm: needs timm; pip install 'switchyard-moe[timm]'"
    assert wanted in capsys.readouterr().err
