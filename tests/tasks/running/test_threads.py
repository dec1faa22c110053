"""Threads by work and free cores."""

import pytest
import torch

from tasks import Run, compose
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


def test_the_number_is_part_of_the_configuration(monkeypatch):
    """Of the whole step: a batch of 64 samples."""
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr("tasks.running.run.choose_threads", lambda flops: seen.append(flops) or 2)
    config = compose([*TINY, NARROW, "trainer.threads=auto"])
    try:
        Run(config)
        assert (config.trainer.threads, torch.get_num_threads()) == (2, 2)
    finally:
        torch.set_num_threads(before)
    Run(compose([*TINY, NARROW, "trainer.threads=1"]))
    assert len(seen) == 1
    assert 1e6 < seen[0] < 1e8
