"""Studies on a server: PostgreSQL, and Optuna's proxy."""

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sweeps._cli import main
from sweeps._store import open_storage

from .cases import TINY, confirmed, sweep
from .servers import free_port, postgres, postgres_programs, proxy

ARMS = ("topk", "expert_choice", "uniform")


@pytest.fixture(scope="module")
def database():
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e '.[postgres]'")
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgres(programs) as url:
        yield url


def ended(url, name):
    with open_storage(url, Path()) as storage:
        study = optuna.load_study(study_name=name, storage=storage)
        return [trial.state for trial in study.get_trials()]


def test_two_commands_share_a_sweep_on_postgresql(database, tmp_path):
    out = tmp_path / "shared"
    more = (f"storage={database}", "trials=4", f"out={out}")
    other = subprocess.Popen(
        [sys.executable, "-m", "sweeps", *TINY, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert sweep(out, *more) == 0
    assert other.wait() == 0, other.stderr.read()
    other.stderr.close()
    for arm in ARMS:
        assert ended(database, f"sweep/{arm}") == [TrialState.COMPLETE] * 4
    assert confirmed(out) == {arm: [1000, 1001] for arm in ARMS}
    assert not (out / "study.db").exists()
    before = sorted(path for path in out.rglob("*") if "report" not in path.name)
    assert sweep(out, *more) == 0  # all is done: nothing runs
    assert sorted(path for path in out.rglob("*") if "report" not in path.name) == before


def test_a_password_is_not_written_down(database, tmp_path):
    secret = database.replace("tester@", "tester:hidden-word@")
    other = "sweep=tiny"  # a name of its own in the same database
    assert sweep(tmp_path / "s", other, f"storage={secret}", "trials=1", "arms=[topk]") == 0
    for path in (tmp_path / "s").rglob("*"):
        if path.is_file():
            assert b"hidden-word" not in path.read_bytes(), path


def test_a_proxy_in_front_of_a_database(tmp_path):
    file = f"sqlite:///{tmp_path / 'behind.db'}"
    with proxy(file) as url:
        assert sweep(tmp_path / "s", f"storage={url}", "workers=2") == 0
    for arm in ARMS:
        assert ended(file, f"sweep/{arm}") == [TrialState.COMPLETE] * 2
    assert confirmed(tmp_path / "s") == {arm: [1000, 1001] for arm in ARMS}


def test_a_proxy_that_does_not_answer(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sweeps._store.PROXY_SECONDS", 0.2)
    assert sweep(tmp_path / "s", f"storage=grpc://localhost:{free_port()}") == 2
    assert "nothing answers" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["port=5"], ["storage=x", "port=five"], ["storage=x"]])
def test_bad_proxies(arguments, capsys):
    assert main(["proxy", *arguments]) == 2
    assert "error: " in capsys.readouterr().err
