"""What a finished run leaves behind, and that it can be run again."""

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tasks
from tasks import Baseline, compose, main
from tasks.config.compose import load_yaml
from tasks.digits import Digits
from tasks.running import run_dir
from tasks.running.train import held_run
from tasks.training.csv_logger import CsvLog

from ..cases import (
    NARROW,
    TINY,
    assert_same,
    assert_same_run,
    checkpoint_of,
    result_of,
    rows_of,
    train,
    untimed,
)

LOAD = {"cv", "max_violation", "entropy", "dead_experts", "dropped"}
COMPUTE = {
    "parameters",
    "active_parameters",
    "router_parameters",
    "trained_parameters",
    "flops_per_item",
    "router_flops_per_item",
    "train_seconds",
    "items_per_second",
    "step_seconds",
    "peak_memory_bytes",
    "cpu_energy_joules",
    "gpu_energy_joules",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    train(out, "trainer.log_every_n_steps=2", "seed=3")
    return out


def test_files(run):
    left = {path.relative_to(run).as_posix() for path in run.iterdir()}
    kept = {"config.yaml", "command.txt", "data.json", "metrics.csv", "checkpoints", "result.json"}
    assert kept | {"confusion.csv", "tensorboard", "lock"} == left
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_result(run):
    result = result_of(run)
    assert [result[key] for key in ("format", "task", "router", "expert", "seed")] == [
        1,
        "digits",
        "topk",
        "mlp",
        3,
    ]
    score = result["score"]
    assert (score["name"], score["direction"], score["split"]) == ("accuracy", "maximize", "test")
    assert 0 <= score["value"] <= 1
    assert set(result["load"]) >= LOAD
    assert len(result["layers"]) == 2
    assert all(set(layer) >= {*LOAD, "load"} for layer in result["layers"])
    assert set(result["compute"]) == COMPUTE
    known = {name: value for name, value in result["compute"].items() if value is not None}
    assert all(value > 0 for value in known.values())
    optional = {"peak_memory_bytes", "cpu_energy_joules", "gpu_energy_joules"}  # by the machine
    assert set(known) >= COMPUTE - optional
    assert set(result["versions"]) >= {"python", "torch", "lightning", "switchyard-moe"}
    data = result["data"]
    assert sum(data.pop("rows").values()) == 1797
    assert data == {
        "name": "digits",
        "sha256": Digits().data().sha256,
        "split_sha256": None,
    }


def test_load_is_the_average_of_the_layers(run):
    result = result_of(run)
    for name in LOAD - {"dead_experts"}:
        mean = sum(layer[name] for layer in result["layers"]) / 2
        assert result["load"][name] == pytest.approx(mean)
    assert result["load"]["dead_experts"] == sum(x["dead_experts"] for x in result["layers"])


def test_metrics(run):
    rows = rows_of(run)
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert all(math.isfinite(float(row["train/loss"])) for row in rows)
    last = rows[-1]
    result = result_of(run)
    assert float(last["test/accuracy"]) == result["score"]["value"]
    assert float(last["val/accuracy"]) == result["score"]["validation"]
    assert float(last["test/cv/layer1"]) == result["layers"][1]["cv"]


def test_tensorboard(run):
    names = set()
    for path in (run / "tensorboard").glob("events*"):
        names |= set(EventAccumulator(str(path)).Reload().Tags()["scalars"])
    assert {"train/loss", "train/max_violation/layer0", "val/accuracy", "test/accuracy"} <= names


def test_checkpoint_is_plain_data(run):
    saved = checkpoint_of(run)  # loads with weights_only=True
    assert saved["global_step"] == 6
    assert all(values.isfinite().all() for values in saved["state_dict"].values())


def test_configuration_is_resolved(run):
    overrides = [*TINY, NARROW, "trainer.log_every_n_steps=2", "seed=3", f"out={run}"]
    assert compose([], base=load_yaml(run / "config.yaml")) == compose(overrides)


def test_same_seed_same_numbers(run, tmp_path):
    train(tmp_path / "again", "trainer.log_every_n_steps=2", "seed=3")
    assert_same_run(tmp_path / "again", run)


def test_the_configuration_runs_again(run, tmp_path):
    again = tmp_path / "again"
    assert main([f"experiment={run / 'config.yaml'}", f"out={again}"]) == 0
    assert_same_run(again, run)


def test_the_configuration_runs_again_in_a_folder_of_its_own(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([f"experiment={run / 'config.yaml'}", "trainer.max_steps=1"]) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_the_command_is_kept(run):
    (line,) = (run / "command.txt").read_text().splitlines()
    assert line.startswith("python -m tasks task.model.dim=16 ")
    assert f"out={run}" in line


@pytest.mark.parametrize("text", ["12345", "1e3", "[a"])
def test_out_is_text(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, NARROW, "trainer.max_steps=1", f"out={text}"]) == 0
    assert result_of(tmp_path / text)["router"] == "topk"


def test_home_is_expanded(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, NARROW, "trainer.max_steps=1", "out=~/x"]) == 0
    assert result_of(tmp_path / "home" / "x")["router"] == "topk"
    assert main(["resume=~/x"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert compose(["experiment=~/x/config.yaml"]).trainer.max_steps == 1
    assert not (tmp_path / "~").exists()


def test_an_empty_folder_is_used(tmp_path):
    train(tmp_path, "trainer.max_steps=1")


def test_versions_of_what_is_not_installed(monkeypatch):
    """A checkout that runs without being installed gets its result all the same."""

    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(run_dir, "version", version)
    assert run_dir.versions()["switchyard-moe"] == "not installed"


def test_another_seed_another_model(run, tmp_path):
    other = train(tmp_path / "other", "trainer.log_every_n_steps=2", "seed=4")
    assert untimed(other)["layers"] != untimed(result_of(run))["layers"]
    left, right = checkpoint_of(tmp_path / "other"), checkpoint_of(run)
    with pytest.raises(AssertionError, match="weight"):
        assert_same(left["state_dict"], right["state_dict"], "weight")


def test_out_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*TINY, NARROW, "trainer.max_steps=1"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("digits-topk-mlp-s0-")
    assert result_of(folder)["router"] == "topk"


def test_runs_in_the_same_second(tmp_path, monkeypatch):
    """Each gets its folder, although none looks before it makes one."""
    monkeypatch.chdir(tmp_path)
    config = compose([])
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: run_dir._unused(config), range(64)))
    assert len(set(made)) == 64
    assert all(path.is_dir() for path in made)


def test_files_are_utf8_in_any_locale(tmp_path, monkeypatch):
    monkeypatch.setattr("io.text_encoding", lambda encoding, stacklevel=2: encoding or "ascii")
    run_dir.write_text(tmp_path / "a.csv", "größe")
    assert (tmp_path / "a.csv").read_bytes() == "größe".encode()
    run_dir.write_text(tmp_path / "config.yaml", "")
    run_dir.note_start(tmp_path, compose(["out=größe"]), ["out=größe", "task.data.path=\udce9"])
    assert "out: größe".encode() in (tmp_path / "config.yaml").read_bytes()
    command = (tmp_path / "command.txt").read_bytes()
    assert "größe".encode() in command
    assert b"path=\xe9" in command
    log = CsvLog(tmp_path / "metrics.csv")
    log.log_metrics({"auc/größe": 1.0}, 1)
    log.save()
    again = CsvLog(tmp_path / "metrics.csv")
    again.resume_at(1)
    assert again.rows == {1: {"auc/größe": "1.0"}}


@pytest.mark.parametrize(
    "resume", [lambda out: main([f"resume={out}"]), lambda out: tasks.train(out, [])]
)
def test_stopped_while_the_baseline_is_fitted(tmp_path, monkeypatch, capsys, resume):
    """Resuming fits it, and repeats neither training nor test."""

    def ctrl_c(*_):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    monkeypatch.setattr(Digits, "baseline", ctrl_c)
    assert main([*TINY, NARROW, f"out={out}", "baseline=true"]) == 130
    assert capsys.readouterr().err.endswith(f"; resume with: python -m tasks resume={out}\n")
    before = result_of(out)
    assert before["baseline"] is None
    assert main([f"resume={out}", "trainer.max_epochs=9"]) == 2  # it would change nothing

    monkeypatch.setattr(Digits, "baseline", lambda *_: Baseline("simple", 0.25, 0.5))
    resume(out)
    after = result_of(out)
    found = after.pop("baseline")
    assert (found["name"], found["validation"], found["value"]) == ("simple", 0.25, 0.5)
    assert after == {name: value for name, value in before.items() if name != "baseline"}
    capsys.readouterr()
    assert main([f"resume={out}"]) == 0
    assert "finished already" in capsys.readouterr().out


def test_another_process_finished_the_run_meanwhile(run, monkeypatch, capsys):
    """Between the look at the result and the lock."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result, aside = run / "result.json", run / "aside.json"
    result.rename(aside)

    @contextmanager
    def late(*given):
        with held_run(*given) as held:
            aside.rename(result)
            yield held

    monkeypatch.setattr("tasks.running.cli.held_run", late)
    assert main([f"resume={run}"]) == 0
    assert "finished already" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
