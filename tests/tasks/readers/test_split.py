"""Which row goes where."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.readers import DataError, Source
from tasks.readers.split import cut

FRACTIONS = st.sampled_from([0.05, 0.1, 0.29, 0.5])


@given(
    st.lists(st.integers(0, 4), min_size=40, max_size=300), FRACTIONS, st.sampled_from([0.1, 0.3])
)
def test_every_row_once_and_every_class_in_proportion(labels, test, val):
    labels = np.array(labels)
    made = cut({"train": len(labels)}, Source(path="x", val=val, test=test), np.zeros(len(labels)))
    rows = np.concatenate([made.train, made.val, made.test])
    assert sorted(rows) == list(range(len(labels)))
    labels[:40] = 0  # so that no split is empty
    made = cut({"train": len(labels)}, Source(path="x", val=val, test=test), labels)
    for label in np.unique(labels):
        size = (labels == label).sum()
        assert (labels[made.test] == label).sum() == int(size * test + 1e-9)
        assert (labels[made.val] == label).sum() == int(size * val + 1e-9)
        assert (labels[made.train] == label).any()


def splitmix(row: int) -> int:
    """The number ``row`` that SplitMix64 gives from seed 0."""
    mask = 2**64 - 1
    z = (row + 1) * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31


def test_splitmix_is_the_published_one():
    assert splitmix(0) == 0xE220A8397B1DCDAF


def test_the_same_everywhere():
    """Against plain integers: another platform or version must decide alike."""
    made = cut({"train": 30}, Source(path="x", val=0.1, test=0.2), np.arange(30) % 2)
    orders = [sorted(range(first, 30, 2), key=splitmix) for first in (0, 1)]
    assert made.test.tolist() == sorted(orders[0][:3] + orders[1][:3])
    assert made.val.tolist() == sorted(orders[0][3:4] + orders[1][3:4])
    to = bytes(1 if row in made.val else 2 if row in made.test else 0 for row in range(30))
    assert made.sha256 == hashlib.sha256(to).hexdigest()


def test_rows_are_scattered():
    """Not the first, nor every tenth: about as many of them in either half."""
    made = cut({"train": 10_000}, Source(path="x"))
    assert 440 < (made.test < 5000).sum() < 560
    assert len(set(np.diff(made.test))) > 20


def test_own_splits_stay():
    made = cut({"train": 20, "test": 3}, Source(path="x", val=0.25))
    assert made.test.tolist() == [20, 21, 22]
    assert (len(made.train), len(made.val)) == (15, 5)
    assert made.made == ("val",)
    assert made.val.max() < 20


def test_limited_rows():
    made = cut({"train": 100}, Source(path="x"), rows=30)
    whole = cut({"train": 100}, Source(path="x"))
    assert len(made.train) == 30
    assert set(made.train) < set(whole.train)
    assert made.train.max() > 50
    assert made.test.tolist() == whole.test.tolist()
    assert made.sha256 != whole.sha256


@pytest.mark.parametrize(("rows", "split"), [(9, "val"), (0, "train")])
def test_empty_split(rows, split):
    with pytest.raises(DataError, match=f"task.data.path=x: no row is left for {split} of {rows}"):
        cut({"train": rows}, Source(path="x"))
