"""Weights of the best validation and of every n-th step; a start from the weights of a run."""

import pytest
import torch

import tasks
from tasks import Run, main

from ..cases import (
    FORGETS,
    NARROW,
    TINY,
    assert_same_run,
    checkpoint_of,
    result_of,
    rows_of,
    signal_at,
    train,
)

SETTINGS = (*FORGETS, "trainer.checkpoint={every_n_steps: 3, keep: 2}")


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """A run whose last validation is not the best one: its folder, and the object after it."""
    out = tmp_path_factory.mktemp("trained") / "run"
    runs = []
    train_run = Run.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "train", lambda run, *given: runs.append(run) or train_run(run, *given))
        train(out, *SETTINGS)
    return out, *runs


@pytest.fixture(scope="module")
def trained(trained_run):
    return trained_run[0]


def names(out):
    return sorted(path.stem for path in (out / "checkpoints").iterdir())


def test_best_and_every_few_steps(trained, capsys):
    assert names(trained) == ["best", "last", "step-12", "step-9"]
    scores = [float(row["val/accuracy"]) for row in rows_of(trained) if row["val/accuracy"]]
    step = 4 * (1 + scores.index(max(scores)))
    saved = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["global_step"] == step
    assert "optimizer_states" not in saved
    loaded = tasks.load(trained, checkpoint="step-9").module.state_dict()
    at_9 = torch.load(trained / "checkpoints" / "step-9.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(loaded["backbone.head.weight"], at_9["backbone.head.weight"])
    assert main(["test", str(trained), "checkpoint=bst"]) == 2
    assert "checkpoint=bst: unknown; did you mean 'best'?" in capsys.readouterr().err
    assert main(["test", str(trained), "checkpoint=best"]) == 0


def test_the_result_has_the_score_of_the_best_validation(trained):
    """It is that of the best weights, and all else in the result is that of the last ones."""
    result = result_of(trained)
    scores = {
        int(row["step"]): float(row["val/accuracy"])
        for row in rows_of(trained)
        if row["val/accuracy"]
    }
    best = result["score"]["best"]
    assert best["step"] == max(scores, key=scores.__getitem__) < max(scores)
    assert best["validation"] == scores[best["step"]] > result["score"]["validation"]
    assert best["value"] == tasks.load(trained, checkpoint="best").test()["score"]["value"]
    assert best["value"] != result["score"]["value"]
    of_last = tasks.load(trained).test()
    for name in ("scores", "load", "layers"):
        assert result[name] == of_last[name]
    assert result["compute"].items() >= of_last["compute"].items()


def test_the_model_has_the_last_weights_after_the_best_were_tested(trained_run):
    folder, run = trained_run
    last = checkpoint_of(folder)["state_dict"]
    for name, values in run.module.backbone.state_dict().items():
        assert torch.equal(last[f"backbone.{name}"], values), name


def test_an_exported_checkpoint_comes_with_its_own_result(trained, tmp_path):
    pytest.importorskip("safetensors")
    out = tmp_path / "model"
    assert main(["export", str(trained), "checkpoint=best", f"out={out}"]) == 0
    scores = tasks.load(out).test()["scores"]
    assert result_of(out)["scores"] == scores != result_of(trained)["scores"]


def test_stopped_and_resumed(trained, tmp_path, capsys):
    """The same weights are kept, and the message names the last validation."""
    out = tmp_path / "run"
    with signal_at(2):
        assert main([*TINY, NARROW, f"out={out}", *SETTINGS]) == 130
    assert "(before its first validation); resume with: python" in capsys.readouterr().err
    with signal_at(2):
        assert main([f"resume={out}"]) == 130
    (row,) = [row for row in rows_of(out) if row["val/accuracy"]]
    known = f"validation accuracy {float(row['val/accuracy']):.4f} at step 4"
    assert f"stopped by SIGINT ({known}); resume with: python -m tasks resume={out}" in (
        capsys.readouterr().err
    )
    with signal_at(3):  # after the best validation
        assert main([f"resume={out}"]) == 130
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, trained)
    assert names(out) == names(trained)
    for name in ("best", "step-12"):
        one, other = (
            torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
            for run in (out, trained)
        )
        assert all(torch.equal(values, other[key]) for key, values in one.items())


@pytest.mark.parametrize("file", ["", "checkpoints/best.ckpt"])
def test_init(trained, tmp_path, file):
    """Training starts from the weights; the place is not read again when it resumes."""
    out, place = tmp_path / "run", trained / file
    freeze = "freeze=[router, experts, backbone.blocks]"
    with signal_at(2):
        assert main([*TINY, NARROW, f"out={out}", f"init={place}", freeze]) == 130
    assert main([f"resume={out}"]) == 0
    source = torch.load(place if file else place / "checkpoints" / "last.ckpt", weights_only=True)
    frozen = torch.load(out / "checkpoints" / "frozen.ckpt", weights_only=True)["state_dict"]
    start, end = source["state_dict"], {**checkpoint_of(out)["state_dict"], **frozen}
    same = {key for key in start if "backbone" in key and torch.equal(start[key], end[key])}
    assert {"backbone.blocks.0.moe.bank.up", "backbone.blocks.1.qkv.weight"} <= same
    assert not {"backbone.head.weight", "backbone.embed.weight"} & same


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["init={}", "moe.num_experts=4"], "(4, 16), and of shape (8, 16) in the checkpoint"),
        (["init={}", "moe.shared=1"], "moe.shared.up is of shape (1, 16, 16), and absent"),
        (["init={}/nothing"], "nothing: no such file or folder"),
        (["init={}/tensorboard"], "tensorboard/checkpoints/last.ckpt is missing"),
        (["init={}/metrics.csv"], "metrics.csv cannot be read (BadZipFile); the file is corrupt"),
        (["trainer.checkpoint={evry_n_steps: 3}"], "did you mean 'every_n_steps'?"),
        (["trainer.checkpoint={keep: 0}"], "trainer.checkpoint.keep=0 is invalid: expected an"),
    ],
)
def test_refused_before_work(trained, tmp_path, capsys, settings, words):
    given = [text.replace("{}", str(trained)) for text in settings]
    assert main([*TINY, NARROW, f"out={tmp_path / 'run'}", *given]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
