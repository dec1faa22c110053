"""Two digits: honest splits, labels and overlays by hand."""

import pytest
import torch

from tasks.digits import Digits
from tasks.two_digits import PAIRS, TwoDigits, overlay


@pytest.fixture(scope="module")
def data():
    return TwoDigits().data()


def splits(data):
    return (data.train, data.val, data.test)


def test_sizes(data):
    assert [tuple(split["x"].shape) for split in splits(data)] == [(n, 2, 8, 8) for n in PAIRS]
    assert [tuple(split["y"].shape) for split in splits(data)] == [(n, 4) for n in PAIRS]


def test_no_digit_is_in_two_splits(data):
    """Base digits are split before they are paired; those of test are digits' own test images."""
    seen = [{x.numpy().tobytes() for x in split["x"].flatten(0, 1)} for split in splits(data)]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    base = Digits().data()
    for images, split in zip(seen, (base.train, base.val, base.test), strict=True):
        assert images == {x.numpy().tobytes() for x in split["x"]}


def test_labels_are_those_of_the_digits(data):
    base = Digits().data()
    label = {
        x.numpy().tobytes(): y.item() for x, y in zip(base.val["x"], base.val["y"], strict=True)
    }
    for pair, y in zip(data.val["x"][:300], data.val["y"][:300].tolist(), strict=True):
        left, right = (label[x.numpy().tobytes()] for x in pair)
        assert y == [left, right, left + right, (left + right) % 2]


def test_pairs_are_the_same_for_every_seed(data):
    torch.manual_seed(99)
    again = TwoDigits().data()
    assert again.sha256 == data.sha256
    assert all(
        torch.equal(a["x"], b["x"]) for a, b in zip(splits(again), splits(data), strict=True)
    )


@pytest.mark.parametrize("width", range(9))
def test_overlay_against_a_loop(width):
    pairs = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    found = overlay(pairs, width)
    assert found.shape == (3, 8, 16 - width)
    for column in range(16 - width):
        there = [pairs[:, 0, :, column]] if column < 8 else []
        if column >= 8 - width:
            there.append(pairs[:, 1, :, column - 8 + width])
        assert torch.equal(found[:, :, column], torch.stack(there).amax(0))


def test_augmentation_moves_each_digit(data):
    torch.manual_seed(0)
    batch = {name: values[:100] for name, values in data.train.items()}
    moved = TwoDigits(augmentation={"strength": 1.0}).augment(batch)["x"]
    assert moved.shape == batch["x"].shape
    assert ((moved - batch["x"]).abs().amax((2, 3)) > 0.05).all()
    unmoved = TwoDigits(augmentation={"strength": 0.0}).augment(batch)["x"]
    torch.testing.assert_close(unmoved, batch["x"], rtol=0, atol=0)


def test_ids_name_whole_images(data):
    task = TwoDigits()
    batch = task.describe(task.collate({name: values[:64] for name, values in data.train.items()}))
    assert batch["x"].shape == (64, 1, 8, 10)
    assert batch["ids"].shape == (64,)
    assert 5 < len(batch["ids"].unique()) < 64
    assert task.features(batch).shape == (64, 80)
