"""What is neither here nor in the storage is said, and can be sent later."""

import base64
import zlib
from contextlib import nullcontext

import pytest
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from sweeps.workers.artifacts import RECORDS, pack
from sweeps.workers.exchange import download_missing, upload_missing
from sweeps.workers.queue import Queue, TrialSpec

from .cases import sweep


def finished(*parcels):
    """A queue with a finished trial for each parcel."""
    queue = Queue("s/a", InMemoryStorage(), ["minimize"], RandomSampler(0), nullcontext, retries=0)
    queue.fill(TrialSpec({}, {}) for _ in parcels)
    for parcel in parcels:
        trial = queue.claim()
        queue.keep(trial, parcel)
        queue.tell(trial, TrialState.COMPLETE, [0.5])
    return queue


def write(run, text):
    run.mkdir(parents=True)
    (run / "result.json").write_text(text)
    return run


def under(folder):
    return lambda trial: [folder / str(trial.number)]


def missing_from(queue, folder):
    return download_missing(queue, under(folder), lambda number: f"trial {number}")


def one_piece_less(parcel):
    return {key: value for key, value in parcel.items() if not key.endswith(" 0")}


def another_text(parcel):
    return {key: value[::-1] if key.endswith(" 0") else value for key, value in parcel.items()}


def that_of_another_run(parcel):
    contents = base64.b64encode(zlib.compress(b'[{"result.json": "[]"}]')).decode()
    return {key: contents if key.endswith(" 0") else value for key, value in parcel.items()}


def no_list(parcel):
    return {**parcel, "files": "all"}


@pytest.mark.parametrize("damage", [one_piece_less, another_text, that_of_another_run, no_list])
def test_a_damaged_parcel_is_one_run_that_is_missing(tmp_path, damage):
    good, bad = (pack([write(tmp_path / "a" / name, "{}")], RECORDS) for name in "01")
    queue = finished(damage(bad), good)
    (line,) = missing_from(queue, tmp_path / "b")
    assert line.startswith("trial 0: what was sent ")
    assert "run the same command" in line
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["1"]
    upload_missing(queue, under(tmp_path / "a"), RECORDS)  # the machine that has it
    assert missing_from(queue, tmp_path / "b") == []
    assert (tmp_path / "b" / "0" / "result.json").read_text() == "{}"


def test_parcels_of_two_claims_do_not_mix(tmp_path):
    """A trial that was taken for dead is sent twice, and the second time not to its end."""
    one, other = (pack([write(tmp_path / name, f'"{name}"')], RECORDS) for name in ("one", "other"))
    del one["files"]
    queue = finished({**other, **one})
    assert missing_from(queue, tmp_path / "b") == []
    assert (tmp_path / "b" / "0" / "result.json").read_text().startswith('"other"')


@pytest.mark.parametrize(
    "contents", [b"[]", b"[{}]", b'[{"result.json": "{}"}, {"result.json": "{}"}]', b"{", b"[3]"]
)
def test_contents_that_are_no_run(tmp_path, contents, monkeypatch):
    monkeypatch.setattr("json.dumps", lambda _: contents.decode())
    parcel = pack([], RECORDS)
    monkeypatch.undo()
    assert len(missing_from(finished(parcel), tmp_path)) == 1
    assert [*tmp_path.iterdir()] == []


def test_a_storage_that_is_shared_when_all_is_done(tmp_path, capsys):
    """What ended before has no parcel: nobody else has an answer until it is sent."""
    one, other = tmp_path / "one", tmp_path / "other"
    few = ("arms=[topk]", "controls=[]", "confirm.seeds=1", "trials=1", "space={}")
    assert sweep(one, *few) == 0
    shared = f"storage=sqlite:///{one / 'study.db'}"
    capsys.readouterr()
    assert sweep(other, *few, shared) == 1
    told = capsys.readouterr().err
    assert "topk trial 0: was never sent" in told
    assert "topk seed 1000: was never sent" in told
    assert sweep(one, *few, shared) == 0
    assert sweep(other, *few, shared) == 0
    assert (one / "leaderboard.csv").read_bytes() == (other / "leaderboard.csv").read_bytes()
