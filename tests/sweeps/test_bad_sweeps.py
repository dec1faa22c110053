"""Invalid sweeps fail before training or end with a clear error; no results are lost."""

from unittest.mock import Mock

import pytest
from optuna.exceptions import StorageInternalError

from routers import ConfigError
from sweeps import compose, main, make_plan

from .cases import TINY, states, sweep
from .folders import ARMS, write_sweep
from .servers import free_port


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep=tny"], "did you mean 'tiny'"),
        (["trails=3"], "did you mean 'trials'"),
        (["trials=-1"], "trials=-1 is invalid: expected an integer >= 0"),
        (["trials=many"], "trials=many"),
        (["sampler=tpee"], "did you mean 'tpe'"),
        (["study=all"], "study=all"),
        (["checkpoints=bets"], "did you mean 'best'"),
        (["engine=slrum"], "engine=slrum: unknown; did you mean 'slurm'"),
        (
            ["engine=slurm", "engine.partiton=x"],
            "engine.partiton: unknown; did you mean 'partition'",
        ),
        (["engine=slurm", "engine.pack=many"], "engine.pack=many: expected int"),
        (["engine={}"], "expected a name, one of local, ray, slurm"),
        (["pruner.name=hyper"], "pruner.name=hyper"),
        (["confirm.first_seed=0"], "Confirmed seeds are fresh"),
        (["objectives=[]"], "objectives"),
    ],
)
def test_configurations(arguments, words):
    with pytest.raises(ConfigError, match=words):
        compose([*TINY, *arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["objectives=[score.valu]"], "did you mean 'score.value'"),
        (["objectives=[load.cv]"], "direction is missing"),
        (["objectives=[score.value,score.value]"], "each metric once"),
        (["objectives=[{metric: load.cv, direction: down}]"], "direction=down"),
        (["constraints=['compute.flops_per_item < 3']"], "METRIC <= NUMBER"),
        (["constraints=['compute.flop <= 3']"], "did you mean"),
        (["space={router.kk: [1]}"], "no arm has it"),
        (["space={router.k: []}"], "a list of choices"),
        (["space={}", "arms=[uniform]", "controls=[]"], "nothing to vary"),
        (["controls=[unifrom]"], "did you mean 'uniform'"),
        (["arms=[mapped]"], "arm mapped: router=mapped: needs the task, language or domain"),
        (["arms=[task_gate]"], "has none; .*. The nearest router that can: topk$"),
        (["arms=[replay]"], "arm replay: router=replay: needs recorded .* router.of is missing"),
        (["arms={a: [router=replay, router.of=away]}"], "router.of=away: away: no run is there"),
        (["arms={a: [router=topk, router.k=99]}"], r"expected an integer in \[1, num_experts=8\]$"),
        (["arms={a: [expert.hidden=99999999999]}"], "arm a: .* does not fit in memory"),
        (["arms={a: [router=topk], A: [router=hash]}"], "another arm also has the folder a"),
        (["arms={a: [router=topk, seed=1]}"], "a sweep sets seed itself"),
        (["arms=topk"], "arms=topk"),
        (["run=[task=digit]"], "did you mean 'digits'"),
    ],
)
def test_plans(arguments, words):
    with pytest.raises(ConfigError, match=words):
        make_plan(compose([*TINY, *arguments]))


def test_routers_that_do_not_fit_are_left_out_with_a_reason():
    plan = make_plan(compose([*TINY, "arms=null"]))
    labels = [arm.label for arm in plan.arms]
    assert labels[0] == "topk"
    assert not {"mapped", "replay"} & {*labels}
    (note,) = [note for note in plan.notes if note.startswith("mapped is left out: router=mapped")]
    assert note.rpartition(" ")[2] in labels
    assert [arm.label for arm in plan.arms if arm.control] == ["uniform"]


def test_dense_controls_cost_what_the_first_arm_costs():
    plan = make_plan(compose([*TINY, "controls=[iso_flop,iso_parameter]", "arms=[hash]"]))
    controls = {arm.label: arm.overrides for arm in plan.arms if arm.control}
    first = ("router=hash", "router.seed=${seed}")
    assert controls == {
        "dense, FLOPs of hash": (*first, "moe.control=iso_flop"),
        "dense, parameters of hash": (*first, "moe.control=iso_parameter"),
    }


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "cannot be opened"),
        ("sqlite://", "name a file"),
        ("sqlite:////proc/none/study.db", "there is no folder /proc/none"),
        ("postgresql://me:secret@localhost:many/x", "cannot be opened"),
        ("oracle+nodriver://me:secret@host/x", "cannot be opened"),
    ],
)
def test_storages(tmp_path, capsys, url, words):
    assert sweep(tmp_path / "x", f"storage={url}") == 2
    error = capsys.readouterr().err
    assert words in error
    assert "secret" not in error


def test_folders(tmp_path, capsys):
    assert sweep("/proc/none") == 2
    (tmp_path / "mine.txt").write_text("precious")
    assert sweep(tmp_path) == 2
    assert "mine.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_study_of_another_sweep(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sweeps.driver.driver.Driver.run_all", lambda *_: None)
    storage = f"storage=sqlite:///{tmp_path / 'shared.db'}"
    sweep(tmp_path / "one", storage)
    capsys.readouterr()
    assert sweep(tmp_path / "two", storage, "trials=3") == 2
    assert "trials: was 2, is 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "a" * 300],
        ["scale", "a" * 300, "at=1"],
        ["report", "{sweep}", f"out={'a' * 300}"],
        [f"sweep={'a' * 300}.yaml"],
    ],
)
def test_names_longer_than_a_file_name_may_be(tmp_path, capsys, arguments):
    folder = str(write_sweep(tmp_path / "s", ARMS[:1]))
    assert main([text.format(sweep=folder) for text in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "aaa" in line
    assert "File name too long" in line


@pytest.mark.parametrize(
    "arguments",
    [["--li\nst"], ["report", "a\nb"], ["sweep=a\nb"], ["sweep=tiny", "a\nb=1"]],
)
def test_a_line_end_in_an_argument_makes_no_second_line(capsys, arguments):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "\\n" in line


def test_the_budget_is_printed_before_the_sweep_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sweeps.stages.sweep.run_sweep", lambda *_: pytest.fail(_printed(capsys)))
    for seeds, notes in ((2, 1), (3, 0)):
        with pytest.raises(pytest.fail.Exception) as stopped:
            sweep(tmp_path, f"confirm.seeds={seeds}", "seeds=2")
        text = str(stopped.value)
        assert f"Budget: 12 trainings to search (6 trials of 3 arms), at least {3 * seeds}" in text
        assert text.count("allows no verdicts: they need at least 3") == notes


def _printed(capsys):
    return capsys.readouterr().out


def test_a_sweep_without_a_format_continues(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sweeps.driver.driver.Driver.run_all", lambda *_: None)
    sweep(tmp_path)
    path = tmp_path / "sweep.yaml"
    text = path.read_text()
    assert text.startswith("format: 1\n")
    path.write_text(text.removeprefix("format: 1\n"))
    assert sweep(tmp_path) == 1  # its runs are missing
    path.write_text(text.replace("format: 1", "format: 2"))
    capsys.readouterr()
    assert sweep(tmp_path) == 2
    assert "sweep.yaml: format 2 is of a later version" in capsys.readouterr().err


def test_other_data(tmp_path, capsys, monkeypatch):
    """The same command with another data file: scores are not comparable."""
    monkeypatch.setattr("sweeps.driver.driver.Driver.run_all", lambda *_: None)
    sweep(tmp_path)
    path = tmp_path / "sweep.yaml"
    (digest,) = {line.split()[1] for line in path.read_text().splitlines() if " sha256:" in line}
    path.write_text(path.read_text().replace(digest, "another"))
    capsys.readouterr()
    assert sweep(tmp_path) == 2
    assert f'data > sha256: was "another", is "{digest}"' in capsys.readouterr().err


def test_a_storage_that_is_lost_on_the_way(tmp_path, capsys, monkeypatch):
    run_all = Mock(side_effect=StorageInternalError("gone"))
    monkeypatch.setattr("sweeps.driver.driver.Driver.run_all", run_all)
    assert sweep(tmp_path) == 1
    assert run_all.called
    error = capsys.readouterr().err
    assert "storage=sqlite:///" in error
    assert "failed (gone)" in error
    assert "run the same command to continue" in error


def test_a_study_that_is_gone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sweeps.driver.driver.Driver.run_all", lambda *_: None)
    sweep(tmp_path)
    (tmp_path / "trials" / "topk" / "0000" / "seed-0").mkdir(parents=True)
    for path in tmp_path.glob("study.db*"):
        path.unlink()
    capsys.readouterr()
    assert sweep(tmp_path) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["engine=slurm", "engine.pack=0"], "engine.pack=0 is invalid: expected an integer >= 1"),
        (["engine=slurm", "engine.time=2"], "engine.time=2 is invalid: expected an integer >= 3"),
        (["engine=slurm"], "pip install 'switchyard-moe[slurm]'"),
        (["engine=ray"], "pip install 'switchyard-moe[ray]'"),
    ],
)
def test_engines_that_cannot_run(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.setattr("routers.plugins.extras.find_spec", lambda name: None)
    assert sweep(tmp_path, *arguments) == 2
    assert words in capsys.readouterr().err


def test_no_slurm_and_no_ray_head(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    pytest.importorskip("submitit", reason="pip install 'switchyard-moe[slurm]'")
    assert sweep(tmp_path, "engine=slurm") == 2
    assert "the command sbatch was not found; run on a login node" in capsys.readouterr().err
    pytest.importorskip("ray", reason="pip install 'switchyard-moe[ray]'")
    assert sweep(tmp_path, "engine=ray", f"engine.address=127.0.0.1:{free_port()}") == 2
    assert "start one with RAY_AUTH_MODE=token ray start --head" in capsys.readouterr().err


def test_all_trials_failing(tmp_path, capsys, monkeypatch):
    out = tmp_path / "x"
    arms = "arms={wild: [router=topk, optimizer.lr=1e30], topk: [router=topk]}"
    more = (arms, "controls=[]", "space={}", "confirm.seeds=1")
    assert sweep(out, *more) == 1
    error = capsys.readouterr().err
    assert "error: wild: no trial completed; the last one: " in error
    assert {state.name for state in states(out, "wild")} == {"FAIL"}
    assert {state.name for state in states(out, "topk")} == {"COMPLETE"}
    assert (out / "confirmed" / "topk" / "seed-1000" / "result.json").exists()
    monkeypatch.setattr("sweeps.stages.outputs.write_sweeps", lambda *_: None)
    assert sweep(out, *more) == 1


def test_help_and_list(capsys):
    for flag, words in (("--help", "python -m sweeps report DIR"), ("--list", "nsgaii")):
        assert main([flag]) == 0
        assert words in capsys.readouterr().out
    assert main(["--cfg", "sweep=digits"]) == 0
    assert "trials: 1" in capsys.readouterr().out
    assert main(["--hepl"]) == 2
    assert main(["report"]) == 2


def test_references_are_for_the_runs():
    plan = make_plan(compose(["sweep=digits"]))
    (arm,) = [arm for arm in plan.arms if arm.label == "hash"]
    assert arm.overrides == ("router=hash", "router.seed=${seed}")
    assert plan.config.seed == 0
