"""Time limits and early stopping: the run is evaluated, and can continue where it stopped."""

import pytest

from tasks import main
from tasks.training.stopping import TimeLimit

from ..cases import (
    NARROW,
    TINY,
    assert_same,
    checkpoint_of,
    result_of,
    rows_of,
    step_hook,
    train,
    untimed,
)

#: Two epochs of four batches.
SETTINGS = (*TINY, NARROW, "trainer.batch_size=300", "trainer.max_steps=-1", "trainer.max_epochs=2")
HOUR = "trainer.max_time=00:01:00:00"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folders of runs without a limit, trained once."""
    folders = {}

    def folder(*settings):
        if settings not in folders:
            folders[settings] = tmp_path_factory.mktemp("whole") / "run"
            train(folders[settings], *SETTINGS, *settings)
        return folders[settings]

    return folder


@pytest.mark.parametrize(("batch", "accumulate", "step"), [(5, 1, 6), (3, 1, 4), (0, 3, 1)])
def test_time_limit(tmp_path, capsys, monkeypatch, whole, batch, accumulate, step):
    out, clock = tmp_path / "run", []
    monkeypatch.setattr(TimeLimit, "time_elapsed", lambda *_: 3600.0 * len(clock))
    settings = f"trainer.accumulate_grad_batches={accumulate}"
    with step_hook(batch, lambda: clock.append("an hour")):
        assert main([*SETTINGS, f"out={out}", settings, HOUR]) == 0
    result = result_of(out)
    assert result["stopped"] == "trainer.max_time"
    assert 0 < result["score"]["value"] < 1
    assert checkpoint_of(out)["global_step"] == step
    assert (
        f"continue with: python -m tasks resume={out} trainer.max_time=null"
        in capsys.readouterr().out
    )

    assert main([f"resume={out}"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([f"resume={out}", "trainer.max_time=null"]) == 0
    assert untimed(result_of(out)) == untimed(result_of(whole(settings)))
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_same(checkpoint_of(out)[key], checkpoint_of(whole(settings))[key], key)
    assert len(list(out.glob("result-*s.json"))) == 1


def test_time_of_earlier_processes_counts(tmp_path):
    assert TimeLimit("00:00:01:30").time_remaining() == 90
    resumed = TimeLimit({"seconds": 90})
    resumed.load_state_dict({"time_elapsed": {"train": 60.0}})
    assert (resumed.time_remaining(), resumed.stopped) == (30, False)


def test_early_stopping(tmp_path, capsys):
    out = tmp_path / "run"
    settings = ("trainer.early_stopping={patience: 1, min_delta: 1}", "trainer.max_epochs=4")
    assert main([*SETTINGS, f"out={out}", *settings]) == 0
    result = result_of(out)
    assert result["stopped"] == "trainer.early_stopping"
    assert "trainer.early_stopping ended it before its last step\n" in capsys.readouterr().out
    assert len([row for row in rows_of(out) if row["val/accuracy"]]) == 2
    assert checkpoint_of(out)["global_step"] == 8

    (out / "result.json").unlink()  # as if it was killed after training
    assert main([f"resume={out}"]) == 0
    assert untimed(result_of(out)) == untimed(result)


def test_early_stopping_by_any_value(tmp_path):
    out = tmp_path / "run"
    monitor = "{monitor: val/cv/layer1, stopping_threshold: 1000.0}"
    train(out, *SETTINGS, f"trainer.early_stopping={monitor}")
    assert checkpoint_of(out)["global_step"] == 4  # any value is below, at the first validation


def test_a_run_to_its_end_was_not_stopped(whole):
    result = result_of(whole())
    assert result["stopped"] is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("max_time=3", "trainer.max_time=3 is invalid: expected DD:HH:MM:SS"),
        ("max_time=10:00:00:00", "expected DD:HH:MM:SS, or units such as {hours: 2"),
        ("max_time=soon", "trainer.max_time=soon is invalid: expected DD:HH:MM:SS"),
        ("max_time={hour: 1}", "expected DD:HH:MM:SS, or units such as {hours: 2"),
        ("max_time=00:00:00:00", "trainer.max_time=00:00:00:00 is invalid: expected more than"),
        ("max_time={hours: -1}", "is invalid: expected more than no time"),
        ("early_stopping=3", "trainer.early_stopping=3: expected dict or null"),
        ("early_stopping={patienc: 3}", "early_stopping.patienc: unknown; did you mean 'patience'"),
        ("early_stopping={patience: x}", "trainer.early_stopping.patience=x: expected int"),
        ("early_stopping={patience: 0}", "trainer.early_stopping.patience=0 is invalid"),
        ("early_stopping={mode: mim}", "trainer.early_stopping.mode=mim: unknown"),
        (
            "early_stopping={monitor: val/acuracy}",
            "trainer.early_stopping.monitor=val/acuracy: unknown; did you mean 'val/accuracy'?",
        ),
    ],
)
def test_refused_before_work(tmp_path, capsys, setting, words):
    assert main([*TINY, f"out={tmp_path / 'run'}", f"trainer.{setting}"]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
