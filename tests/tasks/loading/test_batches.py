"""The order of batches depends on the seed and the epoch, and can be gone on with anywhere."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.loading.batches import Batches, InOrder

SPLIT = {"x": torch.arange(23), "y": torch.arange(23) * 10}


def epoch_of(batches, epoch):
    batches.set_epoch(epoch)
    return [batch["x"].tolist() for batch in batches]


def test_every_sample_at_most_once_an_epoch():
    seen = [row for batch in epoch_of(Batches(SPLIT, 5, seed=0), 0) for row in batch]
    assert len(seen) == len(set(seen)) == 20  # four batches of five; three samples are left out


def test_columns_stay_together():
    for batch in Batches(SPLIT, 5, seed=0):
        assert torch.equal(batch["y"], batch["x"] * 10)


def test_every_epoch_is_whole():
    """Also when a pass is not run to its end, as a trainer leaves it after the last batch."""
    batches = Batches(SPLIT, 5, seed=0)
    for epoch in range(3):
        batches.set_epoch(epoch)
        iterator = iter(batches)
        assert len([next(iterator) for _ in range(len(batches))]) == 4


def test_order_depends_on_seed_and_epoch_alone():
    first = Batches(SPLIT, 5, seed=0)
    torch.manual_seed(123)
    second = Batches(SPLIT, 5, seed=0)
    assert [epoch_of(first, e) for e in (0, 1, 0)] == [epoch_of(second, e) for e in (0, 1, 0)]
    assert epoch_of(first, 0) != epoch_of(first, 1)
    assert epoch_of(first, 0) != epoch_of(Batches(SPLIT, 5, seed=1), 0)


def test_reading_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    epoch_of(Batches(SPLIT, 5, seed=0), 0)
    assert torch.equal(torch.get_rng_state(), before)


@given(size=st.integers(1, 23), stop=st.integers(0, 22), epoch=st.integers(0, 3))
def test_resumed_anywhere(size, stop, epoch):
    whole = Batches(SPLIT, size, seed=0)
    stop %= len(whole)
    expected = epoch_of(whole, epoch)
    stopped = Batches(SPLIT, size, seed=0)
    stopped.set_epoch(epoch)
    iterator = iter(stopped)
    before = [next(iterator)["x"].tolist() for _ in range(stop)]
    resumed = Batches(SPLIT, size, seed=0)
    resumed.load_state_dict(stopped.state_dict())
    assert before + epoch_of(resumed, epoch) == expected
    assert epoch_of(resumed, epoch + 1) == epoch_of(whole, epoch + 1)


def test_a_finished_epoch_resumes_at_the_next():
    batches = Batches(SPLIT, 5, seed=0)
    epoch_of(batches, 0)
    assert batches.state_dict() == {"position": 0}


@pytest.mark.parametrize("size", [1, 5, 23, 100])
def test_evaluation_reads_all_in_order(size):
    batches = InOrder(SPLIT, size)
    read = list(batches)
    assert torch.equal(torch.cat([batch["x"] for batch in read]), SPLIT["x"])
    assert torch.equal(torch.cat([batch["y"] for batch in read]), SPLIT["y"])
    assert len(read) == len(batches)
