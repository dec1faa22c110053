"""Samples on demand are the same whatever reads them, and random draws belong to epoch and row."""

import random

import numpy as np
import pytest
import torch

from routers import ConfigError
from tasks.loading.batches import Batches, InOrder
from tasks.loading.on_demand import OnDemand

ROWS = 40


def noisy(place):
    """A row with its place and a draw of each generator."""
    by_numpy = np.random.randint(256)  # noqa: NPY002  as transforms do
    drawn = [random.randrange(256), by_numpy, int(torch.randint(256, ()))]
    return torch.tensor([place, *drawn], dtype=torch.uint8)


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setattr("tasks.loading.on_demand.MAX_WORKERS", 0)


def split():
    return {"x": OnDemand(noisy, torch.arange(ROWS), (4,)), "y": torch.arange(ROWS) * 10}


def epoch(size, number, start=0):
    batches = Batches(split(), size, seed=3)
    batches.set_epoch(number)
    batches.load_state_dict({"position": start})
    return torch.cat([batch["x"] for batch in batches])


def states():
    by_numpy = np.random.get_state()[1].tolist()  # noqa: NPY002
    return random.getstate(), by_numpy, torch.get_rng_state().tolist()


def test_draws_depend_on_seed_epoch_and_row():
    """Not on the size of a batch, nor on where the pass began; and the training's draws stay."""
    before, first = states(), epoch(8, 0)
    assert torch.equal(epoch(20, 0), first)
    assert torch.equal(epoch(8, 0, start=3), first[24:])
    by_row = [{int(row[0]): row.tolist() for row in epoch(8, number)} for number in (0, 1)]
    assert len(by_row[0]) == ROWS
    assert all(by_row[0][place] != by_row[1][place] for place in range(ROWS))
    assert states() == before


def test_columns_stay_together():
    for batch in Batches(split(), 8, seed=0):
        assert torch.equal(batch["y"], batch["x"][:, 0].long() * 10)


def test_evaluation_reads_the_same_each_time():
    x = split()["x"]
    for size in (7, 40):
        assert torch.equal(torch.cat([b["x"] for b in InOrder({"x": x}, size)]), x[:])
    assert torch.equal(x.select(torch.tensor([5, 2]))[:], x[torch.tensor([5, 2])])
    assert x[:0].shape == (0, 4)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_worker_processes_read_the_same(monkeypatch):
    batches = Batches(split(), 8, seed=0)
    expected, before = list(batches), states()
    monkeypatch.setattr("tasks.loading.on_demand.MAX_WORKERS", 2)
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    for batch, other in zip(batches, expected, strict=True):
        assert torch.equal(batch["x"], other["x"])
        assert torch.equal(batch["y"], other["y"])
    assert states() == before


def lost(place):
    raise ConfigError(f"row {place} is lost")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_error_of_a_worker_is_one_line(monkeypatch):
    monkeypatch.setattr("tasks.loading.on_demand.MAX_WORKERS", 1)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"^row 0 is lost$"):
        list(InOrder({"x": OnDemand(lost, torch.arange(2), (1,))}, 2))
