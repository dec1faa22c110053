"""A run on frozen weights: they stay as they were, once in its folder, and it resumes exactly."""

import pytest
import torch

import tasks
from routers import ConfigError
from tasks import main

from ..cases import (
    BRIEF,
    TINY,
    assert_same_run,
    checkpoint_of,
    signal_at,
    train,
    train_any,
)

ADAPT = "adapt: {num_experts: 4, router: topk, expert: {name: lora, rank: 2}}"


def test_low_rank_experts_around_a_finished_run(tmp_path, capsys):
    dense, whole, stopped = (tmp_path / name for name in ("dense", "whole", "stopped"))
    train(dense, "moe.num_experts=1", "router=uniform", "router.k=1")
    start = f"init={{from: {dense}, edits: [{{{ADAPT}}}]}}"
    result = train_any(whole, start)
    old = tasks.load(dense).module.backbone.state_dict()
    run = tasks.load(whole)
    new = run.module.backbone.state_dict()
    base = {name: name.replace(".shared.", ".bank.") for name in new if ".moe." not in name}
    base |= {name: name.replace(".shared.", ".bank.") for name in new if ".shared." in name}
    assert all(new[name].equal(old[of]) for name, of in base.items())
    kept = {name for name in checkpoint_of(whole)["state_dict"] if name.startswith("backbone.")}
    assert kept == {f"backbone.{name}" for name in new if name not in base}
    assert any("bank.up" in name for name in kept)
    trained = sum(values.numel() for name, values in new.items() if name not in base)
    assert result["compute"]["trained_parameters"] == trained
    assert result["compute"]["parameters"] == trained + sum(new[name].numel() for name in base)
    assert run.test()["scores"] == result["scores"]
    lora = run.module.backbone.blocks[0].moe.bank
    assert lora.up.abs().sum() > 0

    with signal_at(3):
        assert main([*TINY, start, f"out={stopped}"]) == 130
    # the run that it started from is not needed any more
    (dense / "checkpoints" / "last.ckpt").unlink()
    assert main([f"resume={stopped}"]) == 0
    assert_same_run(stopped, whole)
    assert main(["test", str(stopped), "checkpoint=best"]) == 0

    frozen = stopped / "checkpoints" / "frozen.ckpt"
    weights = torch.load(frozen, weights_only=True)
    weights["state_dict"]["backbone.head.bias"] += 1
    torch.save(weights, frozen)
    capsys.readouterr()
    assert main(["test", str(stopped)]) == 2
    assert "frozen.ckpt holds other weights" in capsys.readouterr().err
    frozen.unlink()
    assert main(["test", str(stopped)]) == 2
    assert "frozen.ckpt is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["moe.shared_expert=mlp"], "moe.shared_expert=mlp is invalid: expected null without"),
        (["moe.shared=1", "moe.shared_expert=mlpp"], "mlpp: unknown; did you mean 'mlp'"),
        (
            ["moe.shared=1", "moe.shared_expert={name: mlp, hidde: 3}"],
            "moe.shared_expert: expert.hidde: unknown",
        ),
        (["expert=lora", "expert.outputs=3"], "expert.outputs=3 is invalid: expected null"),
    ],
)
def test_settings_that_cannot_work(settings, message):
    config = tasks.compose(["task=digits", *BRIEF, *settings])
    task = tasks.build_task(config)
    with pytest.raises(ConfigError, match=message):
        tasks.build_backbone(config, task)
