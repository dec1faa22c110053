"""Threads by work and free cores."""

import os

import pytest
import torch

from tasks import Run, compose
from tasks.digits import Digits
from tasks.running import threads

from ..cases import NARROW, TINY


@pytest.mark.parametrize(
    ("load", "flops", "limit", "chosen"),
    [(0.2, 1e12, "", 8), (5.1, 1e12, "", 3), (30, 1e12, "", 1), (0, 1e12, "2", 2), (0, 1e6, "", 1)],
)
def test_free_cores(monkeypatch, load, flops, limit, chosen):
    monkeypatch.setattr(threads, "cpu_count", lambda: 8)
    monkeypatch.setattr(threads, "machine_load", lambda: load)
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert threads.choose_threads(flops) == chosen
    assert bool(threads.load_warning()) == (load > 8)


@pytest.mark.parametrize(("quota", "chosen", "warns"), [(64, 1, True), (8, 8, False)])
def test_the_load_of_a_host_is_not_that_of_its_containers(monkeypatch, quota, chosen, warns):
    """A container that may use some cores of a busy host has these, whatever others do."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "getloadavg", lambda: (90.0, 0.0, 0.0), raising=False)
    monkeypatch.setattr(threads, "cpu_count", lambda: quota)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert threads.choose_threads(1e12) == chosen
    assert bool(threads.load_warning()) == warns


@pytest.fixture
def two_threads(monkeypatch):
    """The choice, whatever the machine."""
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr("tasks.running.run.choose_threads", lambda flops: seen.append(flops) or 2)
    yield seen
    torch.set_num_threads(before)


def test_the_number_is_part_of_the_configuration(two_threads):
    """Of the whole step: a batch of 64 samples, and a backward pass that costs two forward."""
    config = compose([*TINY, NARROW, "trainer.threads=auto"])
    run = Run(config)
    assert (config.trainer.threads, torch.get_num_threads()) == (2, 2)
    torch.set_num_threads(1)
    per_sample = run.test()["compute"]["flops_per_item"]
    Run(compose([*TINY, NARROW, "trainer.threads=3"]))
    assert torch.get_num_threads() == 3
    assert two_threads == [pytest.approx(3 * 64 * per_sample, rel=0.3)]


@pytest.mark.usefixtures("two_threads")
def test_routers_that_read_ids_read_the_data_once(monkeypatch):
    """The number of threads is chosen after a pass, and their tables are those of that number."""
    rows, describe = [], Digits.describe

    def counted(task, batch):
        rows.append(len(batch["y"]))
        return describe(task, batch)

    monkeypatch.setattr(Digits, "describe", counted)
    settings = (*TINY, NARROW, "router={name: hash, table: clustered}")
    runs = [Run(compose([*settings, f"trainer.threads={number}"])) for number in ("auto", 2)]
    assert rows == [1024, 233, 2] * 2
    tables = [run.module.routers[0].table for run in runs]
    assert torch.equal(*tables)
