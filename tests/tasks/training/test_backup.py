"""The callback ``backup``: lost experts come back, copies are written by a thread."""

import threading

import pytest
import torch

from tasks import main
from tasks.edits.backup import Backup
from tasks.training.backup import Writer

from ..cases import (
    NARROW,
    TINY,
    assert_same_run,
    checkpoint_of,
    result_of,
    rows_of,
    signal_at,
    train,
)


def losing(step, every, value="0", backup_first=False):
    lose = f"{{name: spare_parts:Losing, step: {step}, value: {value}}}"
    backup = f"{{name: backup, every: {every}}}"
    named = [backup, lose] if backup_first else [lose, backup]
    return f"trainer.callbacks=[{', '.join(named)}]"


def copies_of(out):
    return torch.load(out / "backups" / "experts.ckpt", weights_only=True)


def weights_of(out):
    """Entry and values of the first stack of the first routed layer in the last checkpoint."""
    return next(
        (n, v) for n, v in checkpoint_of(out)["state_dict"].items() if n.endswith("bank.up")
    )


def restored_in(out):
    key = "train/restored_experts"
    return [(row["step"], row[key]) for row in rows_of(out) if row.get(key)]


@pytest.mark.parametrize("value", ["0", ".nan"])
def test_a_lost_expert_has_the_values_of_its_copy(tmp_path, value):
    """Before anything is saved; other experts are those of the last step."""
    with pytest.warns(
        UserWarning, match=r"experts \[1\] of layer 0 are lost after step 4; .* 3 ag"
    ):
        train(tmp_path / "run", "trainer.max_steps=4", losing(4, 3, value))
    _, values = weights_of(tmp_path / "run")
    saved, checkpoint = copies_of(tmp_path / "run"), checkpoint_of(tmp_path / "run")
    held = saved["layers"][0]["up"]
    assert (saved["step"], restored_in(tmp_path / "run")) == (3, [("4", "1.0")])
    states = checkpoint["optimizer_states"][0]["state"].values()
    state = next(each for each in states if each["exp_avg"].shape == values.shape)
    pairs = [
        (values, held["value"]),
        *((state[key], held[key]) for key in ("exp_avg", "exp_avg_sq")),
    ]
    for now, then in pairs:
        assert now[1].equal(then[1])
        assert not now.equal(then)


def test_it_is_restored_before_the_next_forward_pass(tmp_path):
    """Lost after the check that follows the step; with NaN the loss would be NaN."""
    with pytest.warns(UserWarning, match="experts"):
        train(tmp_path / "run", losing(4, 3, ".nan", backup_first=True))
    assert restored_in(tmp_path / "run") == [("4", "1.0")]


def test_without_a_loss_training_is_as_without_copies(tmp_path):
    train(tmp_path / "one")
    train(tmp_path / "other", "trainer.callbacks=[{name: backup, every: 2}]")
    name, values = weights_of(tmp_path / "one")
    assert values.equal(checkpoint_of(tmp_path / "other")["state_dict"][name])
    assert copies_of(tmp_path / "other")["step"] == 6


STEPS = ("trainer.batch_size=300", "trainer.max_epochs=2", "trainer.max_steps=-1")


@pytest.mark.filterwarnings("ignore:experts")
def test_a_resumed_run_restores_what_it_would_have(tmp_path):
    """The copy of step 4, from the folder, for a loss after the stop."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, *STEPS, losing(7, 4))
    with signal_at(5):
        assert main([*TINY, NARROW, f"out={cut}", *STEPS, losing(7, 4)]) == 130
    assert copies_of(cut)["step"] == 4
    assert main([f"resume={cut}"]) == 0
    assert_same_run(cut, whole)
    assert restored_in(cut) == restored_in(whole) == [("7", "1.0")]
    assert checkpoint_of(cut)["callbacks"]["BackupExperts"] == {"restored": 1}


def test_copies_of_steps_to_come_do_not_count(tmp_path):
    """A killed process may have written them after its last checkpoint."""
    with signal_at(2):
        assert main([*TINY, NARROW, f"out={tmp_path}", "trainer.callbacks=backup"]) == 130
    later = {**copies_of(tmp_path), "step": 50}
    torch.save(later, tmp_path / "backups" / "experts.ckpt")
    assert main([f"resume={tmp_path}"]) == 0
    assert copies_of(tmp_path)["step"] == 3


def test_a_broken_run_is_repaired_by_the_edit(tmp_path, capsys):
    """Lost after the last check; the next run refuses the weights, and takes the repaired ones."""
    broken, repaired = tmp_path / "broken", tmp_path / "repaired"
    train(broken, losing(6, 4, backup_first=True))
    assert main(["edit", str(broken), "edits=[backup]", f"out={repaired}"]) == 0
    name, lost = weights_of(broken)
    values = checkpoint_of(repaired)["state_dict"][name]
    assert not lost[1].any()
    assert values[1].equal(copies_of(broken)["layers"][0]["up"]["value"][1])
    assert values[[0, 2]].equal(lost[[0, 2]])
    assert "score" in result_of(repaired)
    capsys.readouterr()
    again = [*TINY, NARROW, "trainer.callbacks=backup"]
    assert main([*again, f"init={broken}", f"out={tmp_path / 'one'}"]) == 2
    error = capsys.readouterr().err
    assert "experts [1] of layer 0 are lost after step 0, before any copy of them" in error
    assert main([*again, f"init={repaired}", f"out={tmp_path / 'two'}"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["trainer.callbacks={name: backup, every: 0}"],
            "trainer.callbacks.every=0 is invalid: expected an integer >= 1",
        ),
        (
            ["trainer.callbacks=[backup]", "expert=mixed"],
            "backup: expert: Mixed has experts of sev",
        ),
        (
            ["trainer.callbacks=[backup]", "trainer.devices=2", "trainer.strategy=fsdp2"],
            "trainer.callbacks=['backup']: works with whole parameters; use trainer.strategy=ddp",
        ),
        (
            ["trainer.callbacks=revive", "trainer.devices=2", "trainer.strategy=fsdp2"],
            "trainer.callbacks=revive: works with whole parameters; use trainer.strategy=ddp",
        ),
    ],
)
def test_refused_before_work(tmp_path, capsys, words, message):
    assert main([*TINY, f"out={tmp_path / 'run'}", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_thread_ends_the_run(tmp_path, capsys, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Writer, "_write", full)
    out = tmp_path / "run"
    assert main([*TINY, NARROW, f"out={out}", "trainer.callbacks={name: backup, every: 2}"]) == 1
    error = capsys.readouterr().err
    assert f"error: {out}: No space left on device; fix the problem, then resume with" in error
    monkeypatch.undo()
    monkeypatch.syspath_prepend("tests/tasks/plugins")
    assert main([f"resume={out}"]) == 0


def test_training_never_waits_and_the_last_copies_are_written(tmp_path):
    """Those that come while the thread writes replace each other; an error is raised once."""
    path, free, written = tmp_path / "backups" / "experts.ckpt", threading.Event(), []
    writer = Writer(path)
    for step in range(4):
        writer.write(Backup(step, []), lambda step=step: written.append(step) or free.wait(20))
    assert not path.exists()
    free.set()
    writer.finish()
    assert written == [0, 3]
    assert torch.load(path, weights_only=True) == {"format": 1, "step": 3, "layers": []}
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    blocked = Writer(path / "inner.ckpt")
    blocked.write(Backup(1, []), lambda: None)
    with pytest.raises(OSError, match=r"experts\.ckpt"):
        blocked.finish()
    blocked.finish()
