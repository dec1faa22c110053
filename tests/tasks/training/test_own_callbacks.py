"""Callbacks that a configuration names, and logs in addition to ``metrics.csv``."""

import json
from importlib.util import find_spec

import pytest
from lightning.pytorch.loggers import CSVLogger

from tasks import main

from ..cases import NARROW, TINY, assert_same_run, checkpoint_of, rows_of, signal_at, train

STEPS = ("trainer.batch_size=300", "trainer.max_epochs=2", "trainer.max_steps=-1")
NAMED = "trainer.callbacks=[{name: spare_parts:Counting, step: 2}]"


def test_a_callback_with_an_option_and_a_state(tmp_path):
    """It sees validations, its state is saved, and resuming is exact."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(whole, *STEPS, NAMED)
    with signal_at(5):
        assert main([*TINY, NARROW, f"out={cut}", *STEPS, NAMED]) == 130
    assert checkpoint_of(cut)["callbacks"]["Counting"]["batches"] == 2 * 6
    assert main([f"resume={cut}"]) == 0
    assert_same_run(cut, whole)
    state = checkpoint_of(cut)["callbacks"]["Counting"]
    assert state == checkpoint_of(whole)["callbacks"]["Counting"]
    last = float([row for row in rows_of(whole) if row["val/accuracy"]][-1]["val/accuracy"])
    assert state == {"batches": 2 * 8, "accuracy": pytest.approx(last)}


def test_loggers(tmp_path):
    """Metrics are always there, TensorBoard by default, others by class."""
    out = tmp_path / "run"
    train(out, "trainer.logger=[{name: lightning.pytorch.loggers:CSVLogger, version: mine}]")
    (theirs,) = out.glob("lightning_logs/mine/metrics.csv")
    assert "val/accuracy" in theirs.read_text()
    assert rows_of(out)
    assert not (out / "tensorboard").exists()


def test_name_of_a_run_in_a_logger(tmp_path):
    """The option ``name`` of the logger's class."""
    train(tmp_path, "trainer.logger={name: lightning.pytorch.loggers:CSVLogger, run_name: first}")
    assert list(tmp_path.glob("first/version_0/metrics.csv"))


def test_a_logger_that_does_not_start(tmp_path, capsys, monkeypatch):
    """Its folder is a file; the logger before it is ended, and the run can continue."""
    ended = []
    monkeypatch.setattr(CSVLogger, "finalize", lambda logger, status: ended.append(status))
    out = tmp_path / "run"
    first = "lightning.pytorch.loggers:CSVLogger"
    second = f"{{name: tensorboard, save_dir: {tmp_path / 'file' / 'logs'}}}"
    (tmp_path / "file").touch()
    assert main([*TINY, NARROW, f"out={out}", f"trainer.logger=[{first}, {second}]"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: trainer.logger=tensorboard: does not start: ")
    assert f"continue with python -m tasks resume={out}; or start a new run without it" in error
    assert ended == ["failed"]
    (tmp_path / "file").unlink()
    assert main([f"resume={out}"]) == 0


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("ignore")  # of wandb
def test_weights_and_biases(tmp_path, monkeypatch):
    """Offline; a resumed run has the same identifier."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = tmp_path / "run"
    settings = (*STEPS, "trainer.logger={name: wandb, project: tests, tags: [tiny]}")
    with signal_at(5):
        assert main([*TINY, NARROW, f"out={out}", *settings]) == 130
    ids = json.loads((out / "loggers.json").read_text())
    assert main([f"resume={out}"]) == 0
    assert json.loads((out / "loggers.json").read_text()) == ids
    runs = [path.name for path in (out / "wandb").glob("offline-run-*")]
    assert len(runs) == 2
    assert all(name.endswith(ids["wandb"]) for name in runs)


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.filterwarnings("ignore")  # of mlflow
def test_mlflow(tmp_path):
    """Both parts of a resumed run are one run there."""
    from mlflow.tracking import MlflowClient

    out, uri = tmp_path / "run", f"sqlite:///{tmp_path / 'mlflow.db'}"
    named = f"trainer.logger=[csv, {{name: mlflow, tracking_uri: '{uri}'}}]"
    with signal_at(5):
        assert main([*TINY, NARROW, f"out={out}", *STEPS, named]) == 130
    assert main([f"resume={out}"]) == 0
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("switchyard")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == json.loads((out / "loggers.json").read_text())["mlflow"]
    assert run.data.params["optimizer/name"] == "adamw"
    steps = [each.step for each in client.get_metric_history(run.info.run_id, "val/accuracy")]
    assert steps == [4, 8]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "callbacks=[Timer]",
            "trainer.callbacks=Timer is invalid: expected backup, or revive, or module",
        ),
        ("callbacks=spare_parts:Counted", "did you mean 'spare_parts:Counting'?"),
        ("callbacks=spare_parts:NoPart", "is not a subclass of"),
        ("callbacks=[{name: spare_parts:Counting, stp: 1}]", "did you mean 'step'?"),
        ("callbacks=[{step: 1}]", "expected a name, or {name: …, option: …}"),
        ("callbacks=3", "trainer.callbacks=3 is invalid: expected a list of names"),
        ("callbacks=[lightning.pytorch.callbacks:ModelCheckpoint]", "trainer.callbacks="),
        ("logger={name: tensorboard, run_name: 3}", "logger.tensorboard.run_name=3: expected str"),
        ("logger=[csv, tensorbord]", "did you mean 'tensorboard'?"),
        (
            "logger=[{name: tensorboard, run_nam: x}, csv]",
            "logger.tensorboard.run_nam: unknown; did you mean 'run_name'?",
        ),
        (
            "logger=lightning.pytorch.loggers:CSVLoger",
            "did you mean 'lightning.pytorch.",
        ),
        ("logger={name: lightning.pytorch.loggers:CSVLogger, nme: x}", "CSVLogger.nme: unknown"),
        *(
            (f"logger={name}", f"trainer.logger={name}: needs {name}; pip install 'switchyard-moe[")
            for name in ("wandb", "mlflow")
            if find_spec(name) is None
        ),
    ],
)
def test_refused_before_work(tmp_path, capsys, setting, words):
    assert main([*TINY, NARROW, f"out={tmp_path / 'run'}", f"trainer.{setting}"]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
