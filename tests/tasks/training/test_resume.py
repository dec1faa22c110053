"""A run that was stopped and resumed is the run that never stopped, to the last bit."""

import errno
import os
import signal

import pytest
from lightning.pytorch import Trainer

from tasks import RoutedModule, compose, main
from tasks.config.compose import load_yaml

from ..cases import (
    NARROW,
    TINY,
    assert_same_run,
    checkpoint_of,
    rows_of,
    signal_at,
    step_hook,
    train,
)

EPOCHS = 2
BATCHES = 4  # an epoch of 1,257 samples in batches of 300, the last one left out
STEPS = (
    "task.model.depth=1",
    "trainer.batch_size=300",
    f"trainer.max_epochs={EPOCHS}",
    "trainer.max_steps=-1",
)
NOISE = ("router=noisy_topk", "task.augmentation.strength=1.0")
SETTINGS = (*STEPS, *NOISE, "trainer.log_every_n_steps=2")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of the uninterrupted run for given settings, trained once."""
    folders = {}

    def folder(*settings):
        if settings not in folders:
            folders[settings] = tmp_path_factory.mktemp("whole") / "run"
            train(folders[settings], *settings)
        return folders[settings]

    return folder


def stop(out, batch, *settings):
    """Start or resume a run and stop it during the given batch."""
    start = [f"resume={out}"] if out.exists() else [*TINY, NARROW, f"out={out}", *settings]
    with signal_at(batch):
        assert main(start) == 130


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7])
def test_stopped_during_any_batch(uninterrupted, tmp_path, batch):
    """Within an accumulation, and at its end and that of an epoch."""
    settings = (*SETTINGS, "trainer.accumulate_grad_batches=3")
    out = tmp_path / "run"
    stop(out, batch, *settings)
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*settings))


@pytest.mark.parametrize(
    ("stops", "limit"),
    [(EPOCHS * BATCHES, "trainer.val_check_interval=2"), (3, "trainer.limit_train_batches=3")],
    ids=["validations", "limited"],
)
def test_stopped_again_and_again(uninterrupted, tmp_path, stops, limit):
    """After every step: before and after a validation, within an epoch and at its end."""
    out, settings = tmp_path / "run", (*SETTINGS, limit)
    for _ in range(stops):
        stop(out, 0, *settings)
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*settings))


@pytest.mark.parametrize("batch", [0, 2])
def test_power_cut(uninterrupted, tmp_path, batch):
    """A resumed run that is killed continues from its last checkpoint."""
    out = tmp_path / "run"
    stop(out, 2, *SETTINGS)
    with crash_at(batch), pytest.raises(PowerCutError):
        main([f"resume={out}"])
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*SETTINGS))


def test_power_cut_before_the_first_step(uninterrupted, tmp_path):
    out = tmp_path / "run"
    with crash_at(0), pytest.raises(PowerCutError):
        main([*TINY, NARROW, f"out={out}", *SETTINGS])
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*SETTINGS))


@pytest.mark.parametrize("left", ["nothing", "half a file"])
def test_power_cut_before_the_first_checkpoint(uninterrupted, tmp_path, left):
    out = tmp_path / "run"
    with crash_at(0), pytest.raises(PowerCutError):
        main([*TINY, NARROW, f"out={out}", *SETTINGS])
    checkpoint = out / "checkpoints" / "last.ckpt"
    if left == "nothing":
        checkpoint.unlink()
        checkpoint.parent.rmdir()
    else:
        checkpoint.write_bytes(b"half")
        checkpoint.parent.rename(out / "checkpoints.part")
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*SETTINGS))


def test_power_cut_after_training(uninterrupted, tmp_path, monkeypatch):
    """The last checkpoint is there, the result is not."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(RoutedModule, "test_step", power_cut)
        with pytest.raises(PowerCutError):
            main([*TINY, NARROW, f"out={out}", *SETTINGS])
    assert not (out / "result.json").exists()
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*SETTINGS))


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_stopped_during_evaluation(uninterrupted, tmp_path, monkeypatch, stage):
    out = tmp_path / "run"
    settings = (*SETTINGS, "trainer.max_steps=6")  # validated once more after training
    evaluate = RoutedModule.validation_step

    def interrupted(module, *args):
        if module.trainer.state.fn == stage:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(module, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RoutedModule, "validation_step", interrupted)
        assert main([*TINY, NARROW, f"out={out}", *settings]) == 130
    assert not (out / "result.json").exists()
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*settings))


def test_periodic_checkpoints(uninterrupted, tmp_path, monkeypatch):
    """Checkpoints between epochs, as on a clock, change nothing and can be gone on from."""
    monkeypatch.setattr("tasks.training.checkpoints.CHECKPOINT_SECONDS", 0.0)
    settings = (*SETTINGS, "trainer.accumulate_grad_batches=3")
    out = tmp_path / "run"
    with crash_at(BATCHES + 3), pytest.raises(PowerCutError):
        main([*TINY, NARROW, f"out={out}", *settings])
    assert checkpoint_of(out)["global_step"] == 3  # two of the first epoch, one of the second
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*settings))


def test_stopped_by_max_steps(uninterrupted, tmp_path):
    """An end within an epoch is validated like any other."""
    settings = (*SETTINGS, "trainer.max_steps=6")
    out = tmp_path / "run"
    stop(out, 5, *settings)
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*settings))
    assert rows_of(out)[-1]["step"] == "6"
    assert rows_of(out)[-1]["val/accuracy"]


@pytest.mark.parametrize("batch", [1, 4])
def test_adapted_state_goes_on(uninterrupted, tmp_path, batch):
    settings = (*STEPS, "router=spare_parts:Adapting", "trainer.accumulate_grad_batches=3")
    whole = uninterrupted(*settings)
    held = checkpoint_of(whole)["state_dict"]
    assert held["backbone.blocks.0.moe.router.calls"] == EPOCHS * 2  # 3 + 1 batches are 2 steps
    assert held["backbone.blocks.0.moe.router.bias"].any()
    out = tmp_path / "run"
    stop(out, batch, *settings)
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, whole)


def test_resume_of_a_finished_run_changes_nothing(uninterrupted, capsys):
    out = uninterrupted(*SETTINGS)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main([f"resume={out}"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_trainer_may_change(tmp_path):
    out = tmp_path / "run"
    stop(out, 0, *SETTINGS)
    assert main([f"resume={out}", "trainer.max_epochs=1"]) == 0
    assert checkpoint_of(out)["global_step"] == BATCHES
    assert compose([], base=load_yaml(out / "config.yaml")).trainer.max_epochs == 1
    first, second = (out / "command.txt").read_text().splitlines()
    assert "router=noisy_topk" in first
    assert second == f"python -m tasks resume={out} trainer.max_epochs=1"


@pytest.mark.parametrize("at", [1, 2, 3])
def test_full_disk(uninterrupted, tmp_path, monkeypatch, capsys, at):
    """At any checkpoint: an error, and resuming works once there is space."""
    out = tmp_path / "run"
    calls = 0
    save = Trainer.save_checkpoint

    def full(trainer, path, weights_only=None):
        nonlocal calls
        calls += 1
        if calls == at:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(trainer, path, weights_only)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", full)
        assert main([*TINY, NARROW, f"out={out}", *SETTINGS]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {out}: No space left on device")
    assert f"resume={out}" in shown
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*SETTINGS))


@pytest.mark.parametrize(
    "place",
    ["tasks.running.run.write_json", "tasks.training.checkpoints.Checkpoints.on_train_start"],
)
def test_ctrl_c_outside_of_the_loops(uninterrupted, tmp_path, monkeypatch, capsys, place):
    """Before the first step, and between training and result."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # Lightning would mute Ctrl-C for good

    def ctrl_c(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(place, ctrl_c)
        assert main([*TINY, NARROW, f"out={out}", *SETTINGS]) == 130
    errors = capsys.readouterr().err
    assert errors.startswith("stopped by SIGINT (")
    assert errors.endswith(f"; resume with: python -m tasks resume={out}\n")
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, uninterrupted(*SETTINGS))


class PowerCutError(Exception):
    """Training ends without any handler of a signal."""


def power_cut(*_):
    raise PowerCutError


def crash_at(batch):
    """Ends training without a checkpoint during the training step of the given call."""
    return step_hook(batch, power_cut)
