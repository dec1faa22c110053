"""Artifacts: upload, download, damage, and files that already exist."""

import base64
import zlib
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from sweeps.workers import artifacts
from sweeps.workers.artifacts import (
    CONFIRMED_FILES,
    SEARCH_FILES,
    download,
    download_missing,
    encode,
    upload_missing,
)
from sweeps.workers.queue import Queue, TrialSpec

from ..cases import sweep

TEXTS = {"config.yaml": "seed: 1\n", "metrics.csv": "step,ä\r\n1,0.5\n", "result.json": "{}\n"}


def write(run, **changes):
    run.mkdir(parents=True)
    for name, text in {**TEXTS, **changes}.items():
        (run / name).write_bytes(text.encode())
    return run


def read(run):
    return {path.name: path.read_bytes().decode() for path in run.iterdir()}


@pytest.mark.parametrize("size", [7, 40_000])
def test_upload_and_download(tmp_path, monkeypatch, size):
    monkeypatch.setattr(artifacts, "CHUNK_SIZE", size)
    runs = [write(tmp_path / "a" / name, **{"last.ckpt": "heavy"}) for name in ("s0", "s1")]
    attrs = encode(runs, CONFIRMED_FILES)
    prefix, count = attrs["files"]
    chunks = [attrs.pop(f"files {prefix} {number}") for number in range(count)]
    assert list(attrs) == ["files"]
    assert all(0 < len(text) <= size for text in chunks)
    attrs |= {f"files {prefix} {number}": text for number, text in enumerate(chunks)}
    download({"arm": "topk", **attrs}, [tmp_path / "b" / "t" / name for name in ("s0", "s1")])
    for name in ("s0", "s1"):
        assert read(tmp_path / "b" / "t" / name) == TEXTS
    assert len(list((tmp_path / "b" / "t").iterdir())) == 2


def test_a_run_of_the_search_has_fewer_files(tmp_path):
    download(encode([write(tmp_path / "a")], SEARCH_FILES), [tmp_path / "b"])
    assert read(tmp_path / "b").keys() == {"config.yaml", "result.json"}


def test_a_run_that_is_here_stays(tmp_path):
    attrs = encode([write(tmp_path / "a")], CONFIRMED_FILES)
    here = write(tmp_path / "b", **{"metrics.csv": "mine"})
    download(attrs, [here])
    assert read(here)["metrics.csv"] == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_run_that_started_here_and_finished_elsewhere_is_kept(tmp_path):
    attrs = encode([write(tmp_path / "a")], CONFIRMED_FILES)
    for number, result in enumerate(['{"seed": 2}', '{"seed": 3}']):
        here = tmp_path / "b"
        (here / "checkpoints").mkdir(parents=True)
        (here / "checkpoints" / "last.ckpt").write_text(result)
        (here / "result.json").write_text(result)
        download(attrs, [here])
        assert read(here) == TEXTS
        aside = tmp_path / f"b.unfinished-{number}"
        assert (aside / "result.json").read_text() == result
        assert (aside / "checkpoints" / "last.ckpt").read_text() == result
        here.rename(tmp_path / f"was-{number}")


def test_unknown_file_names_are_dropped(tmp_path):
    """A shared storage may contain anything; files are written only in the folder of the run."""
    run = write(tmp_path / "a")
    (tmp_path / "out.txt").write_text("x")
    attrs = encode([run], [*CONFIRMED_FILES, "../out.txt"])
    (tmp_path / "b").mkdir()
    download(attrs, [tmp_path / "b" / "run"])
    assert read(tmp_path / "b" / "run") == TEXTS
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["run"]


def finished(*uploads):
    """A queue with a finished trial for each artifact."""
    queue = Queue("s/a", InMemoryStorage(), ["minimize"], RandomSampler(0), nullcontext, retries=0)
    queue.fill(TrialSpec({}, {}) for _ in uploads)
    for artifact in uploads:
        trial = queue.claim()
        queue.set_attrs(trial, artifact)
        queue.tell(trial, TrialState.COMPLETE, [0.5])
    return queue


def write_result(run, text):
    run.mkdir(parents=True)
    (run / "result.json").write_text(text)
    return run


def stage_of(queue, folder):
    return SimpleNamespace(
        queue=queue,
        files=CONFIRMED_FILES,
        run_dirs=lambda trial: [folder / str(trial.number)],
        name_of=lambda number: f"trial {number}",
    )


def missing_from(queue, folder):
    return download_missing(stage_of(queue, folder))


def one_chunk_less(artifact):
    return {key: value for key, value in artifact.items() if not key.endswith(" 0")}


def another_text(artifact):
    return {key: value[::-1] if key.endswith(" 0") else value for key, value in artifact.items()}


def chunk_of_another_run(artifact):
    contents = base64.b64encode(zlib.compress(b'[{"result.json": "[]"}]')).decode()
    return {key: contents if key.endswith(" 0") else value for key, value in artifact.items()}


def no_list(artifact):
    return {**artifact, "files": "all"}


@pytest.mark.parametrize("damage", [one_chunk_less, another_text, chunk_of_another_run, no_list])
def test_a_damaged_artifact_is_one_run_that_is_missing(tmp_path, damage):
    good, bad = (
        encode([write_result(tmp_path / "a" / name, "{}")], CONFIRMED_FILES) for name in "01"
    )
    queue = finished(damage(bad), good)
    (line,) = missing_from(queue, tmp_path / "b")
    assert line.startswith("trial 0: its artifact ")
    assert "run the same command" in line
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["1"]
    upload_missing(stage_of(queue, tmp_path / "a"))
    assert missing_from(queue, tmp_path / "b") == []
    assert (tmp_path / "b" / "0" / "result.json").read_text() == "{}"


def test_artifacts_of_two_claims_do_not_mix(tmp_path):
    """A trial that was declared dead is uploaded twice, the second time incompletely."""
    one, other = (
        encode([write_result(tmp_path / name, f'"{name}"')], CONFIRMED_FILES)
        for name in ("one", "other")
    )
    del one["files"]
    queue = finished({**other, **one})
    assert missing_from(queue, tmp_path / "b") == []
    assert (tmp_path / "b" / "0" / "result.json").read_text().startswith('"other"')


@pytest.mark.parametrize(
    "contents", [b"[]", b"[{}]", b'[{"result.json": "{}"}, {"result.json": "{}"}]', b"{", b"[3]"]
)
def test_contents_that_are_no_run(tmp_path, contents, monkeypatch):
    monkeypatch.setattr("json.dumps", lambda _: contents.decode())
    artifact = encode([], CONFIRMED_FILES)
    monkeypatch.undo()
    assert len(missing_from(finished(artifact), tmp_path)) == 1
    assert [*tmp_path.iterdir()] == []


def test_a_storage_that_is_shared_when_all_is_done(tmp_path, capsys):
    """Runs that finished before have no artifact: other machines lack them until it is uploaded."""
    one, other = tmp_path / "one", tmp_path / "other"
    few = ("arms=[topk]", "controls=[]", "confirm.seeds=1", "trials=1", "space={}")
    assert sweep(one, *few) == 0
    shared = f"storage=sqlite:///{one / 'study.db'}"
    capsys.readouterr()
    assert sweep(other, *few, shared) == 1
    error = capsys.readouterr().err
    assert "topk trial 0: was never uploaded" in error
    assert "topk seed 1000: was never uploaded" in error
    assert sweep(one, *few, shared) == 0
    assert sweep(other, *few, shared) == 0
    assert (one / "leaderboard.csv").read_bytes() == (other / "leaderboard.csv").read_bytes()
