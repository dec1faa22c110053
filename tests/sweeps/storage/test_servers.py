"""Storages on a server: PostgreSQL and Optuna's proxy."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from unittest.mock import DEFAULT, Mock

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import ProgrammingError

from routers import ConfigError
from sweeps import main, open_storage
from sweeps.storage.connect import sweep_lock
from sweeps.storage.liveness import HOST_ID_VARIABLE
from sweeps.storage.proxy import _invitation

from ..cases import ARMS, TINY, confirmed, sweep
from ..servers import free_port


def ended(url, name):
    with open_storage(url, Path()) as storage:
        study = optuna.load_study(study_name=name, storage=storage)
        return [trial.state for trial in study.get_trials()]


def test_two_machines_that_share_a_folder_share_a_sweep(database, tmp_path):
    out, arms = tmp_path / "shared", (ARMS[0], ARMS[-1])
    more = (f"storage={database}", f"out={out}", f"arms=[{arms[0]}]")
    other = subprocess.Popen(
        [sys.executable, "-m", "sweeps", *TINY, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, HOST_ID_VARIABLE: "another"},
    )
    assert sweep(out, *more) == 0
    assert other.wait() == 0, other.stderr.read()
    other.stderr.close()
    for arm in arms:
        assert ended(database, f"sweep/{arm}") == [TrialState.COMPLETE] * 2
    assert confirmed(out) == {arm: [1000, 1001] for arm in arms}
    assert not [*out.rglob("*.part"), *out.rglob("*.unfinished-*")]
    assert not (out / "study.db").exists()
    before = sorted(path for path in out.rglob("*") if "report" not in path.name)
    assert sweep(out, *more) == 0  # all is done: nothing runs
    assert sorted(path for path in out.rglob("*") if "report" not in path.name) == before


def test_a_url_may_omit_the_driver(database):
    for scheme in ("postgresql", "postgres"):
        with open_storage(database.replace("postgresql+psycopg", scheme), Path()) as storage:
            assert storage.get_all_studies() is not None


def test_another_machine_makes_the_same_tables(monkeypatch):
    """The second machine finds them at its next attempt; other errors are reported."""
    connect, url = Mock(return_value=("storage", lambda: None)), "postgresql://host/name"
    monkeypatch.setattr("sweeps.storage.connect._connect", connect)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    connect.side_effect = [ProgrammingError("", {}, Exception("there")), DEFAULT]
    with open_storage(url, Path()) as storage:
        assert (storage, connect.call_count) == ("storage", 2)
    connect.side_effect = ProgrammingError("", {}, Exception("you may not"))
    with pytest.raises(ConfigError, match="you may not"), open_storage(url, Path()):
        pass


@pytest.mark.parametrize("server", ["database", "proxied"])
def test_one_process_at_a_time(server, request):
    """The lock is in the storage, independent of folders."""
    url = request.getfixturevalue(server)
    with open_storage(url, Path()) as storage, open_storage(url, Path()) as other:
        one, two = (sweep_lock(url, Path(), each, "locked") for each in (storage, other))
        acquired, may_end = Event(), Event()

        def hold():
            with two():
                acquired.set()
                assert may_end.wait(60)

        with one():
            thread = Thread(target=hold)
            thread.start()
            assert not acquired.wait(0.3)  # a wait too short would pass, and never fail by chance
        assert acquired.wait(60)
        (trial,) = storage.get_all_trials(storage.get_study_id_from_name("locked/lock"))
        assert trial.state == TrialState.RUNNING
        may_end.set()
        thread.join()


def test_a_password_is_not_stored(database, tmp_path):
    secret = database.replace("tester@", "tester:hidden-word@")
    other = "sweep=tiny"  # another name in the same database
    assert sweep(tmp_path / "s", other, f"storage={secret}", "trials=1", "arms=[topk]") == 0
    for path in (tmp_path / "s").rglob("*"):
        if path.is_file():
            assert b"hidden-word" not in path.read_bytes(), path


def test_a_proxy_in_front_of_a_database(tmp_path, behind, proxied):
    arms = (ARMS[0], ARMS[-1])
    more = ("workers=2", f"arms=[{arms[0]}]", "confirm.seeds=1")
    assert sweep(tmp_path / "s", f"storage={proxied}", *more) == 0
    for arm in arms:
        assert ended(behind, f"sweep/{arm}") == [TrialState.COMPLETE] * 2
    assert confirmed(tmp_path / "s") == {arm: [1000] for arm in arms}


def test_a_proxy_that_does_not_answer(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sweeps.storage.connect.PROXY_SECONDS", 0.2)
    assert sweep(tmp_path / "s", f"storage=grpc://localhost:{free_port()}") == 2
    assert "nothing answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "proxy: expected"),
        (["port=5"], "proxy: expected"),
        (["storage=x", "port=five"], "port=five is invalid: expected an integer in [1, 65535]"),
        (["storage=x", "port=0"], "port=0 is invalid: expected"),
        (["storage=x", "port=65536"], "port=65536 is invalid: expected"),
        (["storage=x", "host=two words"], "host=two words is invalid: expected a name or address"),
        (["storage=x", "host=192.0.2.1"], "host=192.0.2.1 port=13000: cannot listen there"),
        (["storage=x"], "storage=x: cannot be opened"),
    ],
)
def test_bad_proxies(arguments, words, capsys):
    assert main(["proxy", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {words}")


def test_two_proxies_do_not_share_a_port(proxied, capsys):
    port = proxied.rpartition(":")[2]
    assert main(["proxy", "storage=x", f"port={port}"]) == 2
    assert f"host=localhost port={port}: cannot listen there" in capsys.readouterr().err


def test_a_proxy_prints_which_machines_can_connect():
    assert _invitation("localhost", 5, ["::1", "127.0.0.1"]).endswith("host=0.0.0.0 accepts others")
    named = _invitation("lab", 5, ["192.0.2.1"])
    assert named == "storage=grpc://lab:5 for every machine that can connect: there is no password"
    everywhere = _invitation("0.0.0.0", 5, ["0.0.0.0"])
    assert everywhere.startswith(f"storage=grpc://{socket.gethostname()}:5 for every machine")
