"""A study in a PostgreSQL database: one driver writes it, and others read it."""

from pathlib import Path

import optuna
from optuna.trial import TrialState

from sweeps import open_storage

from ..cases import ARMS, confirmed, sweep


def states_in(url, name):
    with open_storage(url, Path()) as storage:
        study = optuna.load_study(study_name=name, storage=storage)
        return [trial.state for trial in study.get_trials()]


def test_a_study_on_a_server(database, tmp_path, capsys):
    out = tmp_path / "one"
    secret = database.replace("postgresql+psycopg://tester@", "postgresql://tester:hidden-word@")
    more = (f"storage={secret}", f"arms=[{ARMS[0]}]", "controls=[]", "confirm.seeds=1")
    assert sweep(out, *more) == 0
    assert states_in(database, f"sweep/{ARMS[0]}") == [TrialState.COMPLETE] * 2
    assert confirmed(out) == {ARMS[0]: [1000]}
    assert not (out / "study.db").exists()
    for path in out.rglob("*"):
        if path.is_file():
            assert b"hidden-word" not in path.read_bytes(), path
    before = sorted(path for path in out.rglob("*") if "report" not in path.name)
    assert sweep(out, *more) == 0  # all is done: nothing runs
    assert sorted(path for path in out.rglob("*") if "report" not in path.name) == before
    capsys.readouterr()
    assert sweep(tmp_path / "other", *more) == 2  # another folder would be another driver
    assert "belongs to another folder" in capsys.readouterr().err
