"""Trials that train on several devices, whose processes die and stop separately."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from optuna.trial import TrialState

from routers import ConfigError
from sweeps import compose, make_plan

from ..tasks.ranks import no_ranks_left, ranks_of
from ..waiting import HANG_SECONDS, until
from .cases import TINY, confirmed, states, sweep, trials_of

RUN = (
    "task=digits",
    "task.model.dim=16",
    "task.model.depth=2",
    "expert.hidden=16",
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.max_epochs=2",
)
SWEEP = (
    f"run=[{','.join(RUN)}]",
    "arms=[topk]",
    "controls=[]",
    "confirm.seeds=1",
    "pruner={name: halving, first: 1, factor: 2}",
    "sampler=grid",
    "space={optimizer.lr: [2e-3, 1e-9], router.k: null, router.weighting: null}",
)


@pytest.fixture(autouse=True)
def no_orphans(tmp_path):
    with no_ranks_left(tmp_path):
        yield


def test_a_batch_that_cannot_be_divided_is_refused_before_work():
    with pytest.raises(
        ConfigError, match=r"arm topk: trainer\.devices=3 is invalid: expected a divisor"
    ):
        make_plan(compose([*TINY, *SWEEP, f"run=[{','.join(RUN)},trainer.devices=3]"]))


@pytest.mark.usefixtures("no_report")
def test_killed_pruned_and_stopped(tmp_path, capsys):
    out = tmp_path / "x"

    def disturb():
        second = out / "trials" / "topk" / "0001" / "seed-0"
        until(lambda: len(ranks_of(second)) == 2)
        os.kill(ranks_of(second)[1], signal.SIGKILL)
        until((out / "confirmed" / "topk" / "seed-1000" / "checkpoints" / "last.ckpt").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(disturb)
        assert sweep(out, *SWEEP) == 128 + signal.SIGTERM
        done.result(timeout=HANG_SECONDS)
    assert states(out, "topk") == [TrialState.COMPLETE, TrialState.PRUNED]
    assert trials_of(out, "topk")[1].user_attrs["deaths"] == 1
    assert "device 1: killed by SIGKILL; out of memory, perhaps; requeued" in (
        capsys.readouterr().out
    )
    assert (out / "confirmed" / "topk" / "seed-1000" / "checkpoints" / "last.ckpt").exists()
    assert confirmed(out) == {"topk": []}
    assert not ranks_of(out)
