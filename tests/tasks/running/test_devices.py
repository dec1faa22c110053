"""Runs on several devices: the numbers of one device, and no process that outlives its run."""

import csv
import os
import pickle
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routers import ConfigError, OptionError
from tasks import DivergedError, RankDiedError, StoppedError, load, main
from tasks.loading.batches import Batches, InOrder, Rank
from tasks.loading.seeds import mix_seed
from tasks.running import launched
from tasks.running.launch import find_cause
from tasks.running.validate import COUNTS
from tasks.running.weights import weights_of
from tasks.training.callbacks import Reseed

from ...experts.parallel.fleet import fleets
from ...waiting import HANG_SECONDS, until
from ..cases import (
    FORGETS,
    NARROW,
    TINY,
    assert_same_run,
    checkpoint_of,
    result_of,
    rows_of,
    train,
)
from ..ranks import PRELOAD, command, no_ranks_left, outlived, ranks_of

TWO = "trainer.devices=2"
ROOT = Path(__file__).parents[3]
PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture(autouse=True)
def no_orphans(tmp_path):
    with no_ranks_left(tmp_path):
        yield


LOSSES = (
    "switch: [0.5, {weight: 0.5, level: sequence}], importance: 0.5, squared_deviation: 0.5, "
    "diversity: 0.5, entropy: 0.5"
)

# deterministic, with every auxiliary loss; after the first epoch there is a checkpoint
EXACT = (
    "task=odd_parts:OddDigits",
    "task.augmentation.strength=0",
    "router=odd_parts:Averaging",
    f"losses={{{LOSSES}}}",
    "optimizer.lr=0.01",
    "trainer.batch_size=40",
    "trainer.accumulate_grad_batches=2",
    "trainer.limit_train_batches=16",
    "trainer.max_epochs=2",
    "trainer.max_steps=-1",
    "trainer.log_every_n_steps=1",
    "trainer.precision=64-true",
)
STEPS = 16


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folders of one run on one device, and on two machines, which are two agents here.

    One of two processes is killed in the second epoch, and both start again.
    """
    with pytest.MonkeyPatch.context() as patch, no_ranks_left(tmp_path_factory.getbasetemp()):
        patch.syspath_prepend(PLUGINS)
        home = tmp_path_factory.mktemp("pair")
        one, two = home / "one", home / "two"
        with socket.create_server(("127.0.0.1", 0)) as free:
            meet = f"--rdzv-endpoint=127.0.0.1:{free.getsockname()[1]}"
        agent = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", meet]
        agent += ["--local-addr=127.0.0.1", "--rdzv-id=pair", "--rdzv-backend=c10d"]
        command = [*agent, "--max-restarts=1", "-m", "tasks", *TINY, NARROW, f"out={two}", *EXACT]
        with ExitStack() as held:
            agents = [
                held.enter_context(started([*command, "trainer.num_nodes=2", "resume=auto"]))
                for _ in range(2)
            ]
            train(one, *EXACT)
            until(lambda: len(ranks_of(two)) == 2)
            killed = ranks_of(two)[1]
            until(lambda: "\n" in metrics_of(two))
            os.kill(killed, signal.SIGKILL)
            said = [agent.communicate(timeout=HANG_SECONDS) for agent in agents]
        assert [agent.returncode for agent in agents] == [0, 0], said
        assert sum("accuracy" in out for out, _ in said) == 1  # the first one prints the result
        assert len((two / "command.txt").read_text().splitlines()) == 2
        assert not ranks_of(two)
    return one, two


def metrics_of(out):
    path = out / "metrics.csv"
    return path.read_text() if path.exists() else ""


@contextmanager
def started(command):
    """A separate process, which has ended afterwards."""
    variables = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=HANG_SECONDS)


def test_two_devices_take_the_steps_of_one(pair):
    one, two = (checkpoint_of(out) for out in pair)
    assert one["global_step"] == two["global_step"] == STEPS
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
    assert [layer["items"] for layer in result_of(pair[1])["layers"]] == [357 * 16] * 2
    assert_same_numbers(*pair)
    assert rows_of_confusion(pair[0]) == rows_of_confusion(pair[1])


def assert_same_numbers(one, other):
    """Two runs have the same log and the same result, but for the last digits."""
    rows, others = rows_of(one), rows_of(other)
    assert len(rows) == len(others) == STEPS
    for left, right in zip(rows, others, strict=True):
        assert {name: float(text) for name, text in left.items() if text} == pytest.approx(
            {name: float(text) for name, text in right.items() if text}, rel=1e-6
        )
    left, right = result_of(one), result_of(other)
    for layer, its in zip(left["layers"], right["layers"], strict=True):
        assert its.pop("load") == layer.pop("load")
        assert its.pop("nmi") == pytest.approx(layer.pop("nmi"))
        assert its == pytest.approx(layer)
    assert right["scores"] == pytest.approx(left["scores"])
    assert right["score"]["validation"] == pytest.approx(left["score"]["validation"])
    for name in ("flops_per_item", "parameters", "active_parameters"):
        assert right["compute"][name] == left["compute"][name]


def rows_of_confusion(out):
    with (out / "confusion.csv").open(newline="") as file:
        return list(csv.reader(file))


@given(rows=st.integers(4, 40), size=st.integers(1, 5), of=st.integers(1, 4))
def test_shares_are_the_whole(rows, size, of):
    split = {"x": torch.arange(rows)}
    size *= of
    shares = [InOrder(split, size, [rank]) for rank in Rank(0, of).all()]
    seen = [row for share in shares for batch in share for row in batch["x"].tolist()]
    assert sorted(seen) == list(range(rows))
    assert len({len(share) for share in shares}) == 1  # a forward pass may need all ranks
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


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Groups of processes, each of which may be one of those that torchrun starts."""
    with fleets(tmp_path_factory.mktemp("ranks"), 2, 4, preload=PRELOAD) as groups:
        yield groups


def test_a_signal_to_the_command_stops_its_processes(pair, ranks, tmp_path, monkeypatch, capfd):
    monkeypatch.syspath_prepend(PLUGINS)
    out = tmp_path / "stopped"
    words = [*TINY, NARROW, f"out={out}", *EXACT, TWO, "resume=auto"]
    handlers = [signal.getsignal(each) for each in signal.valid_signals()]

    def ask():
        until((out / "checkpoints" / "last.ckpt").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile(ask):
        assert main(words) == 128 + signal.SIGTERM
    errors = capfd.readouterr().err
    assert errors.startswith("stopped by SIGTERM (")
    assert errors.endswith(f"; resume with: python -m tasks resume={out}\n")
    assert not ranks_of(out)
    assert checkpoint_of(out)["global_step"] > 0
    assert not (out / "result.json").exists()
    assert [signal.getsignal(each) for each in signal.valid_signals()] == handlers

    answers = ranks(2, command, [*words, "trainer.progress=true"])
    assert [code for code, _, _ in answers] == [0, 0], answers
    # only the first process prints
    assert ["\ntraining: " in printed for _, printed, _ in answers] == [True, False]
    assert_same_run(out, pair[1])


@pytest.mark.parametrize(
    ("size", "strategy"),
    [
        (2, "{name: fsdp2, single_file: true}"),
        (4, "{name: expert_parallel, size: 2}"),
    ],
)
def test_sharded_runs_take_the_steps_of_one_device(
    pair, ranks, tmp_path, monkeypatch, size, strategy
):
    monkeypatch.syspath_prepend(PLUGINS)
    out = tmp_path / "run"
    words = [*TINY, NARROW, *EXACT, f"trainer.devices={size}", f"out={out}", "resume=auto"]
    words += [f"trainer.strategy={strategy}"]
    answers = ranks(size, command, words, 20)  # a signal to the last process, in the second epoch
    assert [code for code, _, _ in answers] == [128 + signal.SIGTERM] * size, answers
    assert not (out / "result.json").exists()
    assert (out / "checkpoints" / "last.ckpt").is_file() == ("single_file" in strategy)
    answers = ranks(size, command, words)
    assert [code for code, _, _ in answers] == [0] * size, answers
    assert ["accuracy" in printed for _, printed, _ in answers] == [True] + [False] * (size - 1)

    assert_same_numbers(pair[0], out)
    kept, expected = weights_of(out), weights_of(pair[0])
    assert kept.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(kept[name], values, rtol=1e-6, atol=1e-9, msg=name)
    scores = load(out, "trainer.accelerator=cpu").test()["scores"]
    assert scores == pytest.approx(result_of(out)["scores"])


def test_a_class_of_lightning_is_a_strategy(pair, ranks, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(PLUGINS)
    named = "{name: 'lightning.pytorch.strategies:DDPStrategy', process_group_backend: gloo}"
    words = [*TINY, NARROW, *EXACT, TWO, f"out={tmp_path}", f"trainer.strategy={named}"]
    answers = ranks(2, command, words)
    assert [code for code, _, _ in answers] == [0, 0], answers
    assert_same_numbers(pair[0], tmp_path)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_the_best_weights_are_tested_on_all_devices(ranks, tmp_path, strategy):
    out = tmp_path / "run"
    words = [*TINY, NARROW, *FORGETS, TWO, f"trainer.strategy={strategy}", f"out={out}"]
    answers = ranks(2, command, words)
    assert [code for code, _, _ in answers] == [0, 0], answers
    result, best, last = (
        result_of(out),
        *(load(out, "trainer.devices=1", checkpoint=name).test() for name in ("best", "last")),
    )
    assert result["score"]["best"]["step"] == 8
    assert result["score"]["best"]["value"] == pytest.approx(best["score"]["value"])
    assert result["scores"] == pytest.approx(last["scores"])
    assert best["score"]["value"] != last["score"]["value"]


def test_all_restore_the_expert_that_one_has_lost(ranks, tmp_path):
    """Ranks would differ afterwards; a single device that loses it takes the same steps."""
    one, two, lost = tmp_path / "one", tmp_path / "two", "{name: spare_parts:Losing, step: 4"
    exact = [*TINY, NARROW, "task.augmentation.strength=0", "trainer.precision=64-true"]
    backup = "{name: backup, every: 3}"
    with pytest.warns(UserWarning, match="experts"):
        assert main([*exact, f"trainer.callbacks=[{lost}}}, {backup}]", f"out={one}"]) == 0
    words = [*exact, TWO, f"trainer.callbacks=[{lost}, rank: 1}}, {backup}]", f"out={two}"]
    answers = ranks(2, command, words)
    assert [code for code, _, _ in answers] == [0, 0], answers
    assert ["experts [1] of layer 0 are lost" in errors for _, _, errors in answers] == [
        True,
        False,
    ]
    kept, expected = weights_of(two), weights_of(one)
    for name, values in expected.items():
        torch.testing.assert_close(kept[name], values, rtol=1e-6, atol=1e-9, msg=name)


def test_a_process_ends_with_the_one_that_started_it(ranks):
    assert ranks(2, outlived, launched.end_with) == [False, False]


@contextmanager
def meanwhile(action):
    """Do something in a thread."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(action)
        yield
        done.result(timeout=HANG_SECONDS)


class UnknownError(Exception):
    """An error of a callback of validations."""


LOST = RuntimeError("Connection closed by peer")


@pytest.mark.parametrize(
    ("errors", "codes", "kind", "words"),
    [
        ([LOST], {0: 1, 1: -9}, RankDiedError, "device 1: killed by SIGKILL"),
        ([LOST, DivergedError("b")], {0: 1, 1: 1}, DivergedError, "b"),
        ([LOST], {0: 1, 1: -15}, RuntimeError, "Connection"),
        ([LOST, StoppedError(signal.SIGINT)], {0: 1}, StoppedError, "SIGINT"),
        ([UnknownError("pruned")], {0: 1, 1: -15}, UnknownError, "pruned"),
        ([], {0: 3}, RankDiedError, "device 0: its process ended with exit code 3"),
    ],
    ids=["killed", "known", "lost", "stopped", "validated", "silent"],
)
def test_the_cause_of_an_end_is_found(tmp_path, errors, codes, kind, words):
    for number, error in enumerate(errors):
        (tmp_path / f"error-{number}").write_bytes(pickle.dumps(error))
    cause = find_cause(codes, tmp_path)
    assert type(cause) is kind
    assert words in str(cause)


def test_an_error_of_a_rank_arrives_with_its_text(tmp_path, monkeypatch):
    def refuse(trainer):
        raise OptionError("trainer.devices", 7, "fewer")

    watched = []
    monkeypatch.setattr(launched, "join_ranks", refuse)
    monkeypatch.setattr(launched, "end_with", watched.append)
    monkeypatch.setenv("RANK", "0")
    train(tmp_path / "run")
    (tmp_path / "job").write_bytes(pickle.dumps((tmp_path / "run", None, False, None)))
    assert launched.main(tmp_path, parent=7) == 1
    assert watched == [7]
    cause = find_cause({0: 1}, tmp_path)
    assert isinstance(cause, ConfigError)  # exit code 2
    assert str(cause) == "trainer.devices=7 is invalid: expected fewer"
    assert "in refuse" in cause.__notes__[0]


def test_every_rank_draws_for_itself():
    trainer = Mock(current_epoch=3)
    seeds = []
    with torch.random.fork_rng():
        for rank in Rank(0, 2).all():
            Reseed(7, rank).on_train_batch_start(trainer, None, None, 5)
            seeds.append(torch.initial_seed())
    assert seeds == [mix_seed(7, 3, 5), mix_seed(7, 3, 5, 1)]  # the first as one that is alone


SPLIT = "trainer.strategy={name: expert_parallel, size: 2}"
ELASTIC = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
SLURM = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_NAME": "x"}


@pytest.mark.parametrize(
    ("settings", "variables", "words"),
    [
        (["trainer.devices=0"], {}, "trainer.devices=0 is invalid: expected an integer in [1, "),
        (
            ["trainer.devices=3"],
            {},
            "trainer.devices=3 is invalid: expected a divisor of trainer.batch_size=64",
        ),
        (
            ["trainer.devices=4", "trainer.accelerator=cuda"],
            {},
            "trainer.devices=4 is invalid: expected an integer in [1, 2], the devices torch sees",
        ),
        (
            ["trainer.devices=256", "trainer.batch_size=512"],
            {},
            "trainer.devices=256 is invalid: expected an integer in [1, 180], the samples in val",
        ),
        (
            ["trainer.num_nodes=2"],
            {},
            ("trainer.num_nodes=2 is invalid: expected 1 for a process that was started alone. "
            "Start it on each machine, with torchrun --nnodes=2 --nproc-per-node=1 "),
        ),
        (
            ["trainer.devices=2", "trainer.num_nodes=3", "--cfg"],
            {},
            ("trainer.devices=2 is invalid: expected a number whose product with "
            "trainer.num_nodes=3 divides trainer.batch_size=64"),
        ),
        (
            [],
            ELASTIC,
            ("trainer.devices=1 is invalid: expected a number whose product with "
            "trainer.num_nodes=1 is 2, since torchrun started 2 processes"),
        ),
        ([TWO, "trainer.num_nodes=2"], SLURM | {"SLURM_NTASKS_PER_NODE": "2"},
         ("trainer.devices=2 is invalid: expected a number whose product with "
         "trainer.num_nodes=2 is 2, since srun started 2 processes")),
        (
            [TWO],
            ELASTIC
            | {"TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_USE_AGENT_STORE": "True"},
            ("torchrun: --max-restarts=3 may fail to connect processes again; set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for it"),
        ),
        ([TWO], SLURM, "srun: You set `--ntasks=2` in your SLURM bash script"),
        (
            ["trainer.strategy=fsdp"],
            {},
            "trainer.strategy=fsdp: unknown; did you mean 'fsdp2'? Allowed: auto, ddp,",
        ),
        (
            ["trainer.strategy=fsdp2"],
            {},
            "trainer.strategy=fsdp2 is invalid: expected auto on one device. Set trainer.devices",
        ),
        (
            ["trainer.strategy={name: expert_parallel, size: 3}", TWO],
            {},
            "trainer.strategy.size=3 is invalid: expected a divisor of the 2 processes",
        ),
        (
            ["trainer.strategy=collections:Counter", TWO],
            {},
            "trainer.strategy=collections:Counter is invalid: expected a strategy of Lightning",
        ),
        (
            ["trainer.strategy=fsdp2", TWO, "trainer.precision=16-mixed"],
            {},
            "trainer.strategy=fsdp2: The `ModelParallelStrategy` does not support",
        ),
        (
            [SPLIT, TWO, "router=merged"],
            {},
            ("trainer.strategy={'name': 'expert_parallel', 'size': 2}: layer blocks.0.moe: Merged "
            "averages the parameters of all experts"),
        ),
        (
            [SPLIT, TWO, "moe.num_experts=7"],
            {},
            "trainer.strategy.size=2 is invalid: expected a divisor of moe.num_experts=7",
        ),
        (["resume=auto"], {}, "resume=auto: needs out=FOLDER"),
    ],
)  # fmt: skip
def test_refused_before_work(tmp_path, capsys, monkeypatch, settings, variables, words):
    monkeypatch.setitem(COUNTS, "cuda", lambda: 2)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out = [] if "resume=auto" in settings else [f"out={tmp_path / 'run'}"]
    assert main([*TINY, NARROW, *out, *settings]) == 2
    assert capsys.readouterr().err.startswith(f"error: {words}")
    assert not list(tmp_path.iterdir())


def test_one_command_starts_a_run_and_goes_on_with_it(tmp_path, capsys):
    words = [*TINY, NARROW, f"out={tmp_path / 'run'}", "resume=auto"]
    assert main(words) == 0
    result = result_of(tmp_path / "run")
    assert "auto" not in (tmp_path / "run" / "config.yaml").read_text().split("resume:")[1]
    (tmp_path / "run" / "result.json").unlink()  # as if it was stopped before
    assert main(words) == 0
    assert result_of(tmp_path / "run")["scores"] == result["scores"]
    assert main(words) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([*words, "router=hash"]) == 2
    assert "was started with other settings" in capsys.readouterr().err
