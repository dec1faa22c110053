"""Runs on several devices: the numbers of one device, and no process that outlives its run."""

import csv
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import Pipe
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routers import OptionError
from tasks import DivergedError, RankDiedError, StoppedError, main
from tasks.loading.batches import Batches, InOrder, Rank
from tasks.loading.seeds import mix_seed
from tasks.running.launch import Job, RankError, Worker, _start, _supervise
from tasks.training.callbacks import Reseed
from tasks.training.devices import COUNTS, check_devices
from tasks.training.signals import Signals

from ..cases import (
    NARROW,
    TINY,
    assert_same_run,
    checkpoint_of,
    result_of,
    rows_of,
    train,
)
from ..ranks import no_ranks_left, ranks_of, until

TWO = "trainer.devices=2"
ROOT = Path(__file__).parents[3]


class EarlyError(Exception):
    """A callback of a validation may end a run."""


@pytest.fixture(autouse=True)
def no_orphans(tmp_path):
    with no_ranks_left(tmp_path):
        yield


LOSSES = (
    "switch: [0.5, {weight: 0.5, level: sequence}], importance: 0.5, squared_deviation: 0.5, "
    "diversity: 0.5, entropy: 0.5"
)

# deterministic, with every auxiliary loss
EXACT = (
    "task=odd_parts:OddDigits",
    "task.augmentation.strength=0",
    "router=odd_parts:Averaging",
    f"losses={{{LOSSES}}}",
    "optimizer.lr=0.01",
    "trainer.batch_size=60",
    "trainer.accumulate_grad_batches=2",
    "trainer.max_steps=4",
    "trainer.log_every_n_steps=1",
    "trainer.precision=64-true",
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folders of one run on one device and on two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "plugins")
        home = tmp_path_factory.mktemp("pair")
        train(home / "one", *EXACT)
        train(home / "two", *EXACT, TWO)
    return home / "one", home / "two"


def test_two_devices_take_the_steps_of_one(pair):
    one, two = (checkpoint_of(out) for out in pair)
    assert one["global_step"] == two["global_step"] == 4
    held = two["state_dict"]
    for name, values in one["state_dict"].items():
        torch.testing.assert_close(held.pop(name), values, rtol=1e-6, atol=1e-9, msg=name)
    # what one device has no need of is empty between steps
    assert not any(values.any() for values in held.values())


def test_statistics_of_routers_are_of_all_devices(pair):
    one, two = (checkpoint_of(out)["state_dict"] for out in pair)
    name = "backbone.blocks.0.moe.router.seen"
    assert one[name].any()
    torch.testing.assert_close(one[name], two[name])


def test_every_sample_is_evaluated_once(pair):
    one, two = map(result_of, pair)
    for result in (one, two):
        assert [layer["items"] for layer in result["layers"]] == [357 * 16] * 2
    for left, right in zip(one["layers"], two["layers"], strict=True):
        assert right.pop("load") == left.pop("load")
        assert right.pop("nmi") == pytest.approx(left.pop("nmi"))
        assert right == pytest.approx(left)
    assert two["scores"] == pytest.approx(one["scores"])
    assert two["score"]["validation"] == pytest.approx(one["score"]["validation"])
    assert two["compute"]["flops_per_item"] == one["compute"]["flops_per_item"]
    assert rows_of_confusion(pair[0]) == rows_of_confusion(pair[1])


def test_logs_are_of_all_devices(pair):
    one, two = map(rows_of, pair)
    assert len(one) == len(two) == 4
    for left, right in zip(one, two, strict=True):
        assert {name: float(text) for name, text in left.items() if text} == pytest.approx(
            {name: float(text) for name, text in right.items() if text}, rel=1e-6
        )


def rows_of_confusion(out):
    with (out / "confusion.csv").open(newline="") as file:
        return list(csv.reader(file))


@given(rows=st.integers(2, 40), size=st.integers(1, 5), of=st.integers(1, 4))
def test_shares_are_the_whole(rows, size, of):
    split = {"x": torch.arange(rows)}
    size *= of
    shares = [InOrder(split, size, [rank]) for rank in Rank(0, of).all()]
    seen = [row for share in shares for batch in share for row in batch["x"].tolist()]
    assert sorted(seen) == list(range(rows))
    for batches in [*shares, InOrder(split, size, Rank(0, of).all())]:
        assert len(batches) == len(list(batches))
        assert all(len(batch["x"]) for batch in batches)


def test_devices_divide_the_batches_of_one():
    split = {"x": torch.arange(23)}
    whole = [batch["x"] for batch in Batches(split, 6, seed=0)]
    parts = zip(*(Batches(split, 6, 0, rank) for rank in Rank(0, 3).all()), strict=True)
    assert len(whole) == 3
    for batch, shares in zip(whole, parts, strict=True):
        assert [len(share["x"]) for share in shares] == [2, 2, 2]
        assert torch.equal(torch.cat([share["x"] for share in shares]), batch)


LONG = (
    "trainer.batch_size=32",
    "trainer.max_steps=-1",
    "task.augmentation.strength=1.0",
    TWO,
)


def test_stopped_in_every_way_it_is_the_run_that_never_stopped(tmp_path, capfd):
    out = tmp_path / "stopped"

    def kill_one():
        until((out / "checkpoints" / "last.ckpt").exists)
        for process in ranks_of(out):  # Lightning would install handlers
            assert {signal.SIGINT, signal.SIGTERM} <= blocked_by(process)
        os.kill(ranks_of(out)[1], signal.SIGKILL)

    with meanwhile(kill_one):
        assert main([*TINY, NARROW, f"out={out}", *LONG]) == 1
    errors = capfd.readouterr().err
    assert errors.startswith("error: device 1: killed by SIGKILL")
    assert errors.endswith(f"python -m tasks resume={out}\n")
    assert len(errors.splitlines()) == 1
    assert not ranks_of(out)

    with started([f"resume={out}"]) as process:
        until(lambda: len(ranks_of(out)) == 2)
        process.kill()
        process.communicate(timeout=60)
        until(lambda: not ranks_of(out), seconds=20)

    def ask():
        until(lambda: len(ranks_of(out)) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile(ask):
        assert main([f"resume={out}"]) == 128 + signal.SIGTERM
    assert capfd.readouterr().err == (
        "stopped by SIGTERM (before its first validation); "
        f"resume with: python -m tasks resume={out}\n"
    )
    assert not ranks_of(out)
    assert checkpoint_of(out)["global_step"] > 0
    assert not (out / "result.json").exists()

    assert main([f"resume={out}", "trainer.progress=true"]) == 0
    printed = capfd.readouterr().out
    assert printed.count("\ntraining: ") == printed.count(" device cpu x 2,") == 1
    assert printed.count("validation accuracy") == 1
    train(tmp_path / "whole", *LONG)
    assert_same_run(out, tmp_path / "whole")


def blocked_by(process):
    """Signals that a process never gets."""
    status = Path(f"/proc/{process}/status").read_text()
    mask = int(re.search(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE).group(1), 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


@contextmanager
def meanwhile(action):
    """Do something in a thread."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(action)
        yield
        done.result(timeout=60)


@contextmanager
def started(arguments):
    """``python -m tasks`` as a separate process, which has ended afterwards."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "tasks", *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("said", "error", "words", "printed"),
    [
        (
            [RankError("device 0: lost its peer", "Traceback"), None],
            RankDiedError,
            "device 1: killed by SIGKILL",
            "",
        ),
        ([RankError("a"), DivergedError("b")], DivergedError, "b", ""),
        ([RankError("device 0: broken", "Traceback"), ...], RankError, "broken", "Traceback"),
        ([StoppedError(signal.SIGINT), ...], StoppedError, "SIGINT", ""),
        ([(1, {"score.value": 0.5}), ...], EarlyError, "1 0.5", ""),
        ([RankError("broken"), (1, {"score.value": 0.5})], RankError, "broken", ""),
    ],
    ids=["killed", "known", "broken", "stopped", "validated", "validated after an error"],
)
def test_the_cause_of_an_end_is_found(monkeypatch, capsys, said, error, words, printed):
    """None is the end of a process that said nothing, and ``...`` one that continues.

    The traceback that is printed is that of the cause.
    """
    monkeypatch.setattr("tasks.running.launch.CAUSE_SECONDS", 0.1)

    def tell(epoch, values):
        raise EarlyError(f"{epoch} {values['score.value']}")

    with ExitStack() as held:
        members = []
        for number, words_of_it in enumerate(said):
            here, there = map(held.enter_context, Pipe())
            members.append(Worker(number, Mock(wait=lambda: -signal.SIGKILL), here))
            if words_of_it is None:
                there.close()
            elif words_of_it is not ...:
                there.send(words_of_it)
        with pytest.raises(error, match=words):
            _supervise(members, Signals(), tell)
    assert capsys.readouterr().err == printed


def test_a_signal_for_a_rank_that_is_gone():
    """The outcome is the answer, not that it cannot be sent."""
    stop = Signals()
    stop.signum = signal.SIGTERM
    here, there = Pipe()
    there.close()
    with here, pytest.raises(RankDiedError, match="device 0: killed by SIGKILL"):
        _supervise([Worker(0, Mock(wait=lambda: -signal.SIGKILL), here)], stop, None)


def test_a_worker_imports_nothing_from_the_current_folder_first(tmp_path, monkeypatch):
    """What its interpreter imports is looked up, and not run."""
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda words, **_: started.append(words))
    _start(Job("", 0, 1, None, 0, 0, False), ())
    monkeypatch.undo()
    (tmp_path / "tasks.py").touch()
    words = started[0][: started[0].index("-m")]
    code = "from importlib.util import find_spec; print(find_spec('tasks').origin)"
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.check_output([*words, "-c", code], cwd=tmp_path, env=path, text=True)
    assert found == f"{ROOT / 'tasks' / '__init__.py'}\n"


def test_every_rank_draws_for_itself():
    trainer = Mock(current_epoch=3)
    seeds = []
    with torch.random.fork_rng():
        for rank in Rank(0, 2).all():
            Reseed(7, rank).on_train_batch_start(trainer, None, None, 5)
            seeds.append(torch.initial_seed())
    assert seeds == [mix_seed(7, 3, 5), mix_seed(7, 3, 5, 1)]  # the first as one that is alone


def test_a_loss_that_is_not_finite_is_said_once(tmp_path, capfd):
    out = tmp_path / "run"
    arguments = [*TINY, NARROW, f"out={out}", "task=spare_parts:PoisonedTask"]
    assert main([*arguments, "trainer.max_steps=-1", TWO]) == 1
    errors = capfd.readouterr().err
    assert errors.startswith("error: the loss is nan at step ")
    assert "input 'x' of the batch" in errors
    assert len(errors.splitlines()) == 1
    assert not ranks_of(out)
    assert all(values.isfinite().all() for values in checkpoint_of(out)["state_dict"].values())


def test_several_devices_are_refused_without_locks_to_inherit(monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    check_devices(1, "cpu", batch_size=8)
    with pytest.raises(OptionError, match=r"^trainer.devices=2 is invalid: expected 1 on this"):
        check_devices(2, "cpu", batch_size=8)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["trainer.devices=0"], "trainer.devices=0 is invalid: expected an integer in [1, "),
        (
            ["trainer.devices=3"],
            "trainer.devices=3 is invalid: expected a divisor of trainer.batch_size=64",
        ),
        (
            ["trainer.devices=4", "trainer.accelerator=cuda"],
            "trainer.devices=4 is invalid: expected an integer in [1, 2], the devices torch sees",
        ),
        (
            ["trainer.devices=256", "trainer.batch_size=512"],
            "trainer.devices=256 is invalid: expected an integer in [1, 180], the samples in val",
        ),
    ],
    ids=["none", "uneven", "absent", "idle"],
)
def test_refused_before_work(tmp_path, capsys, monkeypatch, settings, words):
    monkeypatch.setitem(COUNTS, "cuda", lambda: 2)
    assert main([*TINY, NARROW, f"out={tmp_path / 'run'}", *settings]) == 2
    assert capsys.readouterr().err.startswith(f"error: {words}")
    assert not list(tmp_path.iterdir())
