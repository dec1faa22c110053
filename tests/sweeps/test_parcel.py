"""Runs that go through the storage arrive as they were, and take nobody's place."""

import pytest

from sweeps.workers import artifacts
from sweeps.workers.artifacts import OF_SEARCH, RECORDS, pack, unpack

TEXTS = {"config.yaml": "seed: 1\n", "metrics.csv": "step,ä\r\n1,0.5\n", "result.json": "{}\n"}


def write(run, **changes):
    run.mkdir(parents=True)
    for name, text in {**TEXTS, **changes}.items():
        (run / name).write_bytes(text.encode())
    return run


def read(run):
    return {path.name: path.read_bytes().decode() for path in run.iterdir()}


@pytest.mark.parametrize("piece", [7, 40_000])
def test_there_and_back(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(artifacts, "PIECE", piece)
    runs = [write(tmp_path / "a" / name, **{"last.ckpt": "heavy"}) for name in ("s0", "s1")]
    attrs = pack(runs, RECORDS)
    prefix, count = attrs["files"]
    pieces = [attrs.pop(f"files {prefix} {number}") for number in range(count)]
    assert list(attrs) == ["files"]
    assert all(0 < len(text) <= piece for text in pieces)
    attrs |= {f"files {prefix} {number}": text for number, text in enumerate(pieces)}
    unpack({"arm": "topk", **attrs}, [tmp_path / "b" / "t" / name for name in ("s0", "s1")])
    for name in ("s0", "s1"):
        assert read(tmp_path / "b" / "t" / name) == TEXTS
    assert len(list((tmp_path / "b" / "t").iterdir())) == 2


def test_of_a_search_less_is_sent(tmp_path):
    unpack(pack([write(tmp_path / "a")], OF_SEARCH), [tmp_path / "b"])
    assert read(tmp_path / "b").keys() == {"config.yaml", "result.json"}


def test_a_run_that_is_here_stays(tmp_path):
    attrs = pack([write(tmp_path / "a")], RECORDS)
    here = write(tmp_path / "b", **{"metrics.csv": "mine"})
    unpack(attrs, [here])
    assert read(here)["metrics.csv"] == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_was_begun_here_and_ended_elsewhere_is_kept(tmp_path):
    attrs = pack([write(tmp_path / "a")], RECORDS)
    for number, result in enumerate(['{"seed": 2}', '{"seed": 3}']):
        here = tmp_path / "b"
        (here / "checkpoints").mkdir(parents=True)
        (here / "checkpoints" / "last.ckpt").write_text(result)
        (here / "result.json").write_text(result)
        unpack(attrs, [here])
        assert read(here) == TEXTS
        aside = tmp_path / f"b.unfinished-{number}"
        assert (aside / "result.json").read_text() == result
        assert (aside / "checkpoints" / "last.ckpt").read_text() == result
        here.rename(tmp_path / f"was-{number}")


def test_names_of_others_are_not_trusted(tmp_path):
    """A shared storage may hold anything; it is written nowhere but below the run."""
    run = write(tmp_path / "a")
    (tmp_path / "out.txt").write_text("x")
    attrs = pack([run], [*RECORDS, "../out.txt"])
    (tmp_path / "b").mkdir()
    unpack(attrs, [tmp_path / "b" / "run"])
    assert read(tmp_path / "b" / "run") == TEXTS
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["run"]
