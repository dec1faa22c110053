"""Digits: honest splits, ids by hand, augmentation in training alone."""

import pytest
import torch

from tasks import build_backbone, build_task, compose
from tasks.augmentations.affine import Affine
from tasks.backbones import content_ids, patches
from tasks.digits import Digits

from ..router_samples import layout, one_of_each
from .cases import NARROW, ROUTERS, TINY, train

SHA256 = "8b3b6ae90863430bdef06a3f7d1ec2f6a905a53d3375655b18cf63780ad98772"


@pytest.fixture(scope="module")
def data():
    return Digits().data()


def test_sizes(data):
    assert [len(s["y"]) for s in (data.train, data.val, data.test)] == [1257, 180, 360]
    assert data.train["x"].shape == (1257, 1, 8, 8)


def test_data_is_what_it_was(data):
    assert data.sha256 == SHA256


def test_pixels_are_from_0_to_1(data):
    assert data.train["x"].min() == 0
    assert data.train["x"].max() == 1


def test_no_image_is_in_two_splits(data):
    """All 1,797 images differ, and each is in one split."""
    images = torch.cat([split["x"].flatten(1) for split in (data.train, data.val, data.test)])
    assert len(images.unique(dim=0)) == len(images) == 1797


def test_splits_are_stratified(data):
    whole = sum(torch.bincount(s["y"], minlength=10) for s in (data.train, data.val, data.test))
    for split in (data.train, data.val, data.test):
        share = torch.bincount(split["y"], minlength=10) / len(split["y"])
        torch.testing.assert_close(share, whole / 1797, atol=0.005, rtol=0)


def test_splits_are_the_same_for_every_seed(data):
    torch.manual_seed(99)
    again = Digits().data()
    for name in ("train", "val", "test"):
        assert torch.equal(getattr(again, name)["x"], getattr(data, name)["x"])


def test_content_ids_by_hand():
    tile = torch.tensor(
        [
            [0.0, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 1.0],
            [0.7, 0.7, 0.2, 0.3],
            [0.7, 0.7, 0.3, 0.2],
        ]
    )
    # quarters 0, 1, 0.7 and 0.25 are steps 0, 3 (the last step), 2 (2.8 rounded down) and 1
    assert content_ids(tile.unsqueeze(0), levels=4).item() == 0 * 64 + 3 * 16 + 2 * 4 + 1
    assert content_ids(torch.ones(2, 3, 4, 4), levels=4).tolist() == [[255] * 3] * 2


def test_patches_by_hand():
    image = torch.arange(64.0).view(1, 1, 8, 8)
    cut = patches(image, size=4, overlap=2).view(16, 4, 4)
    assert cut[0, 0].tolist() == [0, 0, 0, 0]  # padding above the first row
    assert cut[0, 1].tolist() == [0, 0, 1, 2]
    assert cut[5].tolist() == image[0, 0, 1:5, 1:5].tolist()  # second row, second column


@pytest.mark.parametrize(("ids", "most"), [("content", 256), ("position", 16)])
def test_ids_name_patches(data, ids, most):
    found = Digits(ids=ids).describe(data.test)["ids"]
    assert found.shape == (360, 16)
    assert 0 <= found.min() <= found.max() < most


def test_equal_patches_have_equal_ids(data):
    task = Digits()
    ids = task.describe(data.test)["ids"].flatten()
    features = task.features(data.test).flatten(0, 1)
    blank = (features == 0).all(1)
    assert blank.sum() > 10
    assert ids[blank].unique().tolist() == [0]


def test_whole_images_have_ids_of_their_own(data):
    task = Digits(model="convnet")
    assert task.describe(data.test)["ids"].shape == (360,)
    assert task.features(data.test).shape == (360, 64)


def test_augmentation_keeps_shape_and_range(data):
    torch.manual_seed(0)
    x = data.train["x"][:200]
    changed = Digits().augment({"x": x})["x"]
    assert changed.shape == x.shape
    assert changed.dtype == x.dtype
    assert 0 <= changed.min() <= changed.max() <= 1 + 8 * torch.finfo(torch.float32).eps
    moved = (changed - x).abs().flatten(1).max(1).values
    assert (moved > 0.05).all()  # every image got its own
    assert torch.equal(Digits(augmentation={"strength": 0.0}).augment({"x": x})["x"], x)


def test_augmentation_of_hardly_any_strength_is_none(data):
    x = data.train["x"][:5]
    torch.testing.assert_close(Affine(strength=1e-8)(x), x)


def test_augmentation_is_for_training_alone(tmp_path, monkeypatch):
    augmented = []
    augment = Digits.augment

    def note(task, batch):
        augmented.append(len(batch["y"]))
        return augment(task, batch)

    monkeypatch.setattr(Digits, "augment", note)
    train(tmp_path / "run", "trainer.max_steps=3")
    assert augmented == [64, 64, 64]


@pytest.mark.parametrize("model", ["vit", "convnet"])
def test_what_is_not_routed_starts_the_same(model):
    """One seed gives the same weights outside routed layers for every kind of router."""
    expert = {"vit": "expert=mlp", "convnet": "expert=conv"}[model]

    def outside(router, seed):
        settings = [*TINY, expert, NARROW, f"task.model={model}", f"router={router}"]
        config = compose([*settings, f"seed={seed}"])
        torch.manual_seed(hash(router) % 1000)  # what was drawn before plays no part
        weights = build_backbone(config, build_task(config)).state_dict()
        inner = {"vit": ".moe.", "convnet": "layers."}[model]
        return {name: value for name, value in weights.items() if inner not in name}

    first = outside("topk", 0)
    assert len(first) > 5
    for router in one_of_each(layout, ROUTERS.__contains__):
        other = outside(router, 0)
        assert other.keys() == first.keys()
        assert all(torch.equal(other[name], first[name]) for name in first)
    assert not torch.equal(outside("topk", 1)["head.weight"], first["head.weight"])


def test_batches_are_the_same_for_every_router(tmp_path, monkeypatch):
    """So is their augmentation: routers that draw noise do not shift what others see."""

    augment = Digits.augment

    def seen_by(router):
        seen = []

        def note(task, batch):
            changed = augment(task, batch)
            seen.append((batch["y"].tolist(), changed["x"].sum().item()))
            return changed

        monkeypatch.setattr(Digits, "augment", note)
        train(tmp_path / router, f"router={router}", "trainer.max_steps=3")
        return seen

    assert seen_by("noisy_topk") == seen_by("hash") == seen_by("topk")
