"""Tasks of Ray on two hosts that share no folder."""

import os
import signal
import subprocess
import sys

import pytest
from optuna.trial import TrialState

from routers import ConfigError
from sweeps.engines.ray import Board, read_files, write_files

from ...tasks.cases import result_of, untimed
from ...waiting import until
from ..cases import RUN, TINY, confirmed, drawn, states, sweep
from .clusters import ray

MORE = (
    "arms=[topk]",
    "controls=[]",
    "confirm.seeds=1",
    f"run=[{','.join(RUN[:-2])},trainer.max_epochs=8]",
)


def results(out):
    return {
        path.parent.relative_to(out): untimed(result_of(path.parent))
        for path in out.rglob("result.json")
    }


def test_files_return_whole_and_the_result_last(tmp_path, monkeypatch):
    here, there, moved = tmp_path / "here", tmp_path / "there", []
    files = {"trials/a/0000/seed-0/result.json": b"{}", "trials/a/0000/output.txt": b"\xe4"}
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda part, path: (moved.append(path), replace(part, path)))
    write_files(there, files)
    assert [path.name for path in moved] == ["output.txt", "result.json"]
    paths = [*there.rglob("*"), there / "missing"]
    assert read_files(there, paths) == files
    for name in ("../elsewhere", "/tmp/elsewhere"):
        with pytest.raises(ConfigError, match="is not in the folder of the sweep"):
            write_files(here, {name: b""})


def test_rungs_of_all_hosts():
    board = Board({"trials/a/0000/seed-0/rungs.jsonl": b"[1, {}]\n"})
    seen = board.exchange({"trials/a/0001/seed-0/rungs.jsonl": b"[1, {}]\n"})
    assert len(seen) == 2


@pytest.mark.usefixtures("no_report")
def test_a_head_and_two_hosts(tmp_path):
    """A host is killed while it trains, then the driver; the results are those of ``local``."""
    local, out = tmp_path / "local", tmp_path / "x"
    with ray(tmp_path) as (address, hosts):
        more = (*MORE, "engine=ray", f"engine.address={address}", "engine.folder=$SWITCHYARD_HOST")
        command = [sys.executable, "-m", "sweeps", *TINY, *more, f"out={out}"]

        def trains(host):
            return [*(tmp_path / host).rglob("last.ckpt")]

        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
            until(lambda: trains("one") and trains("two"))
            os.kill(driver.pid, signal.SIGKILL)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
            until(lambda: TrialState.RUNNING in states(out, "topk"))
            hosts[0].kill()
            assert driver.wait() == 0
        assert states(out, "topk") == [TrialState.COMPLETE] * 2
        assert confirmed(out) == {"topk": [1000]}
    assert sweep(local, *MORE) == 0
    assert drawn(out, "topk") == drawn(local, "topk")
    assert results(out) == results(local)
    assert not list(out.rglob("last.ckpt"))
    assert list((tmp_path / "two").rglob("last.ckpt"))
