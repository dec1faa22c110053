"""What a sweep costs, before it starts."""

import re
from types import SimpleNamespace

import pytest

from sweeps import compose, make_plan
from sweeps.stages import budget
from tasks import compose as compose_run

from ..cases import TINY, sweep


def plan(out, *arguments):
    return make_plan(compose([*TINY, f"out={out}", *arguments]))


def test_disk_space_is_that_of_the_checkpoints_that_stay(tmp_path):
    small, big = plan(tmp_path), plan(tmp_path, "trials=5", "seeds=2")
    one = sum(16 * arm.parameters for arm in small.arms)  # with Adam's moments, and best.ckpt
    for each, runs, kept in ((small, 4, 3), (big, 12, 4)):
        assert budget.checkpoint_bytes(each, "all") == runs * one
        assert budget.checkpoint_bytes(each, "best") == kept * one
    none = plan(tmp_path, "checkpoints=none")
    assert budget.disk_note([none], tmp_path).startswith("Disk: about 0B of ")
    assert "with checkpoints=best" in budget.disk_note([small], tmp_path)
    assert "are free" not in budget.disk_note([small], tmp_path)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        (["trainer.checkpoint.best=false"], 3),
        (["trainer.checkpoint.every_n_steps=2"], 4 + 9),
        (["trainer.checkpoint={every_n_steps: 2, keep: 3}"], 4 + 3),
        (["trainer.checkpoint.every_n_steps=2", "trainer.accumulate_grad_batches=3"], 4 + 3),
        (["trainer.checkpoint.every_n_steps=2", "trainer.max_steps=5"], 4 + 2),
        (["trainer.checkpoint.every_n_steps=2", "trainer.limit_train_batches=3"], 4 + 3),
    ],
)
def test_a_run_keeps_several_checkpoints(settings, kept):
    """Two epochs of nine steps."""
    run = compose_run(["trainer.batch_size=10", "trainer.max_epochs=2", *settings])
    assert budget.run_bytes(SimpleNamespace(run=run, parameters=5), 90) == 4 * 5 * kept


def test_a_disk_that_is_too_small_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1e5})())
    folder = tmp_path / "not" / "there"
    note = budget.disk_note([plan(folder)], folder)
    assert note.endswith(f"; only 100kB are free in {tmp_path}")


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        (["trainer.max_epochs=10"], 5 + 10 * 1000 / 100 + 9 * 30 / 300),
        (["trainer.max_epochs=1"], 5 + 1000 / 100),
        (["trainer.max_steps=2", "trainer.accumulate_grad_batches=3"], 5 + 2 * 3 * 32 / 100),
        (["trainer.max_epochs=1", "trainer.limit_train_batches=0.5"], 5 + 500 / 100),
        (["trainer.max_epochs=1", "trainer.limit_train_batches=2"], 5 + 64 / 100),
        (["trainer.max_epochs=2", "trainer.val_check_interval=0.25"], 5 + 20 + 7 * 30 / 300),
        (["trainer.max_epochs=2", "trainer.val_check_interval=5"], 5 + 20 + 11.5 * 30 / 300),
        (["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2"], 5 + 40 + 30 / 300),
        (["trainer.max_epochs=2", "trainer.limit_val_batches=0.5"], 5 + 20 + 15 / 300),
        (["trainer.max_epochs=10", "trainer.max_time=00:00:00:20"], 5 + 20),
        (["trainer.max_epochs=1", "trainer.max_time={minutes: 1}"], 5 + 1000 / 100),
    ],
)
def test_a_training_is_extrapolated_from_its_first_seconds(settings, seconds):
    """A training of 8 s, 3 of them for steps, at 100 samples per second."""
    result = {
        "data": {"rows": {"train": 1000, "val": 30}},
        "compute": {"items_per_second": 100.0, "train_seconds": 3.0},
    }
    found = budget.extrapolated(compose_run(["trainer.batch_size=32", *settings]), result, 8.0)
    assert found == pytest.approx(seconds)


def test_the_time_is_measured_before_a_sweep_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sweeps.stages.sweep.run_sweep", lambda *_: pytest.fail("it started"))
    with pytest.raises(pytest.fail.Exception):
        sweep(tmp_path, "quiet=false", "patience=1")
    shown = capsys.readouterr().out
    first, _, shown = shown.partition("Time: training topk for 3 s to measure it …\n")
    assert "Budget:" in first
    assert re.search(r"Time: \S+ s to \S+ \w+ if .* as fast as topk, .* stop early\n", shown)
    (tmp_path / "trials").mkdir()
    assert list(budget.time_notes([plan(tmp_path)])) == []


def test_a_measurement_that_fails_is_no_error(tmp_path):
    wild = plan(tmp_path, "arms={wild: [router=topk, optimizer.lr=1e30]}", "space={}", "trials=1")
    assert budget.measure(wild) is None
