"""Permuted digits: every digit once under each permutation, in the split it had."""

import pytest
import torch

from routers import ConfigError
from tasks import build
from tasks.digits import Digits


@pytest.fixture(scope="module")
def task():
    return build("permuted_digits", permutations=3)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_each_digit_of_a_split_is_there_under_every_permutation(task, split):
    base, data = getattr(Digits().data(), split), getattr(task.data(), split)
    seen = task.collate(data)
    assert data["permutation"][:6].tolist() == [0, 1, 2, 0, 1, 2]  # routers may see whole batches
    for number in range(3):
        rows = data["permutation"] == number
        assert torch.equal(data["y"][rows], base["y"])
        # where each pixel went is read from an image whose pixels are all different
        ramp = torch.arange(64.0).view(1, 1, 8, 8)
        place = task.collate({"x": ramp, "permutation": torch.tensor([number])})["x"].flatten()
        assert sorted(place.tolist()) == list(range(64))
        assert (place.tolist() == list(range(64))) == (number == 0)
        assert torch.equal(seen["x"][rows].flatten(1), base["x"].flatten(1)[:, place.long()])


def test_permutations_are_the_same_for_every_seed(task):
    torch.manual_seed(99)
    again = build("permuted_digits", permutations=3)
    assert again.data().sha256 == task.data().sha256
    assert torch.equal(again.collate(again.data().val)["x"], task.collate(task.data().val)["x"])
    assert build("permuted_digits", permutations=2).data().sha256 != task.data().sha256


def test_one_permutation_hides_nothing():
    with pytest.raises(ConfigError, match=r"permutations=1 is invalid: expected an integer >= 2"):
        build("permuted_digits", permutations=1)
