"""Images of one's own: augmentation by hand, two networks, every router, what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from routers import ConfigError
from tasks import build_backbone, build_task, compose, routed_layers
from tasks.augmentations.flip_crop import random_crop, random_flip
from tasks.backbones import content_ids, patches
from tasks.image import Image, mean_and_deviation
from tasks.loading.on_demand import read_batches

from ..router_samples import layout, one_of_each
from .cases import NARROW, ROUTERS, result_of, train

MODELS = {"vit": "mlp", "resnet": "conv"}
CIFAR = Path(__file__).resolve().parents[2] / "../shared/data/cifar10"


def save_images(folder, size, classes=3):
    """An ``.npz`` of random images of a shape ``(H, W)`` or ``(H, W, C)``, split."""
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in {"train": 96, "val": 20, "test": 30}.items():
        y = np.arange(count) % classes
        noise = draw.integers(0, 128, (count, *size))
        bright = (y * 60).reshape(-1, *[1] * len(size))
        arrays |= {f"x_{split}": (noise + bright).astype(np.uint8), f"y_{split}": y}
    path = folder / "own.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images"), (12, 10, 3))


def settings(path, model="resnet", *more):
    expert = f"expert={MODELS[model]}"
    data = f"task.data.path={path}"
    return ("task=image", f"task.model={model}", data, expert, *more)


# ---- augmentation ----


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_flip_is_a_mirror_or_nothing(dtype):
    torch.manual_seed(0)
    x = torch.randint(256, (200, 3, 5, 4)).to(dtype)
    flipped = random_flip(x, 0.5)
    assert flipped.dtype == dtype
    turned = 0
    for image, made in zip(x, flipped, strict=True):
        mirror = torch.stack([image[:, :, column] for column in (3, 2, 1, 0)], -1)
        assert torch.equal(made, image) or torch.equal(made, mirror)
        turned += torch.equal(made, mirror)
    assert 70 < turned < 130
    assert torch.equal(random_flip(x, 0.0), x)
    assert torch.equal(random_flip(x, 1.0), x.flip(-1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_is_a_slice_of_the_framed_image(dtype):
    torch.manual_seed(0)
    x = torch.randint(1, 256, (300, 2, 5, 7)).to(dtype)
    cropped = random_crop(x, (1, 2))
    assert cropped.dtype == dtype
    moves = set()
    for image, made in zip(x, cropped, strict=True):
        framed = torch.zeros(2, 5 + 2, 7 + 4, dtype=dtype)
        framed[:, 1:-1, 2:-2] = image
        found = [
            (down, right)
            for down in range(3)
            for right in range(5)
            if torch.equal(made, framed[:, down : down + 5, right : right + 7])
        ]
        assert len(found) == 1  # pixels are random: no two slices are equal
        moves.add(found[0])
    assert len(moves) == 15  # every move there is
    assert torch.equal(random_crop(x, (0, 0)), x)


def test_augmentation_of_the_task(path):
    task = Image(data={"path": str(path)}, augmentation={"flip": 1.0, "crop": 0.0})
    train = task.data().train
    assert torch.equal(task.augment(train)["x"], train["x"].flip(-1))
    none = {"flip": 0.0, "crop": 0.0}
    still = Image(data={"path": str(path)}, augmentation=none).augment(train)
    assert torch.equal(still["x"], train["x"])
    moved = Image(data={"path": str(path)}, augmentation={"flip": 0.0, "crop": 0.125}).augment(
        train
    )["x"]
    assert moved.dtype == torch.uint8
    assert moved.shape == train["x"].shape
    # 0.125 of 12 and of 10 pixels are 2 and 1, rounded: 14 of 15 moves change an image
    changed = moved.ne(train["x"]).flatten(1).any(1)
    assert changed.float().mean() > 0.8
    assert not moved[:, :, 2:-2, 1:-1].eq(0).flatten(2).all(-1).any()  # the middle stays in


# ---- scale, ids, features ----


def test_scale_is_that_of_the_training_split(path):
    task = Image(data={"path": str(path)})
    data = task.data()
    pixels = data.train["x"].numpy() / 255.0
    mean, deviation = (each.flatten().double().numpy() for each in task.scale)
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(deviation, pixels.std((0, 2, 3)), rtol=1e-6)
    x = task.collate(data.train)["x"]
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3))
    torch.testing.assert_close(x.var((0, 2, 3), correction=0), torch.ones(3))
    assert data.train["x"].dtype == torch.uint8


def test_a_channel_that_never_varies_stays_finite():
    x = torch.full((3000, 2, 2, 2), 7, dtype=torch.uint8)
    x[:, 1, 0] = 9
    mean, deviation = (each.flatten() * 255 for each in mean_and_deviation(x))
    torch.testing.assert_close(mean, torch.tensor([7.0, 8.0]))
    torch.testing.assert_close(deviation, torch.tensor([1.0, 1.0]))


def test_sums_of_large_images_take_little_memory(monkeypatch):
    x = torch.randint(0, 256, (40, 3, 4, 5), dtype=torch.uint8)
    whole, chunks = mean_and_deviation(x), []

    def spied(split, rows):
        chunks.extend(rows)
        return read_batches(split, chunks)

    monkeypatch.setattr("tasks.image.read_batches", spied)
    monkeypatch.setattr("tasks.image.MAX_SUMMED", 7 * 60)
    assert all(map(torch.equal, mean_and_deviation(x), whole))
    assert {chunk.stop - chunk.start for chunk in chunks} == {7}


def test_tiles_are_slices_filled_with_zeros():
    x = torch.arange(2 * 2 * 5 * 7).view(2, 2, 5, 7).float() + 1
    tiles = patches(x, 3)
    assert tiles.shape == (2, 2 * 3, 2, 3, 3)
    framed = F.pad(x, (0, 2, 0, 1))
    for row in range(2):
        for column in range(3):
            cut = framed[:, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3]
            assert torch.equal(tiles[:, 3 * row + column], cut)


@pytest.mark.parametrize(
    ("options", "shape", "described"),
    [
        ({"model": "resnet"}, (30,), 3 * 16),
        ({"model": "vit"}, (30, 9), 3 * 4),
        ({"model": {"patch": 5}, "ids": "position"}, (30, 6), 3 * 4),
    ],
)
def test_ids_and_features(path, options, shape, described):
    task = Image(data={"path": str(path)}, **options)
    batch = task.describe(task.collate(task.data().test))
    assert batch["ids"].shape == shape
    assert batch["ids"].dtype == torch.int64
    assert 0 <= batch["ids"].min() < batch["ids"].max() < 256
    assert task.features(batch).shape == (*shape, described)


def test_ids_are_of_the_picture_not_of_its_scale(path):
    task = Image(data={"path": str(path)}, model="resnet")
    test = task.data().test
    wanted = content_ids(test["x"].float().mean(1) / 255, levels=4)
    assert torch.equal(task.describe(task.collate(test))["ids"], wanted)


# ---- networks ----


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [(28, 28), (32, 32, 3), (9, 13, 3), (8, 8), (8, 70)])
def test_any_size_and_channels(tmp_path, model, size):
    own = settings(
        save_images(tmp_path, size), model, "task.model.dim=16", "task.model.depth=3", NARROW
    )
    config = compose([*own, "task.model.routed=[0,2]"])
    task = build_task(config)
    batch = task.collate(task.data().val)
    net = build_backbone(config, task)
    logits, routings = net(batch)
    assert logits.shape == (20, 3)
    assert len(routings) == len(routed_layers(net)) == 2
    per_image = math.ceil(size[0] / 4) * math.ceil(size[1] / 4) if model == "vit" else 1
    assert [routing.num_items for routing in routings] == [20 * per_image] * 2
    task.loss(logits, batch).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("model", MODELS)
def test_images_of_a_batch_do_not_meet(path, model):
    config = compose([*settings(path, model), "task.model.dim=16", "task.model.depth=2", NARROW])
    task = build_task(config)
    x = task.collate(task.data().test)["x"]
    net = build_backbone(config, task).eval().double()
    whole, _ = net({"x": x.double()})
    one, _ = net({"x": x[3:4].double()})
    torch.testing.assert_close(one, whole[3:4])


def test_conv_works_on_eight_by_eight(tmp_path):
    config = compose([*settings(save_images(tmp_path, (32, 32, 3))), "task.model.dim=16"])
    task = build_task(config)
    task.data()
    net = build_backbone(config, task)
    assert net.stem.conv.weight.shape[:2] == (4, 3)  # a quarter, a half, all of the width
    assert [stage.enter.conv.out_channels for stage in net.stages] == [8, 16]
    seen = []
    routed_layers(net)[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    net(task.collate(task.data().val))
    assert seen == [(20, 16, 8, 8)]


# ---- training ----


#: One router of each layout, with one of the networks in turn.
PAIRS = [
    (list(MODELS)[number % len(MODELS)], router)
    for number, router in enumerate(one_of_each(layout, lambda name: name in ROUTERS))
]


@pytest.mark.parametrize(("model", "router"), PAIRS)
def test_every_kind_of_router_trains(tmp_path, path, model, router):
    run = ("trainer.max_steps=2", "trainer.batch_size=32", f"router={router}", "moe.num_experts=4")
    train(tmp_path / "run", *settings(path, model, *run))
    result = result_of(tmp_path / "run")
    assert result["score"]["name"] == "accuracy"
    assert [sum(layer["load"]) > 0 for layer in result["layers"]] == [True, True]
    recalls = [result["scores"][f"recall/{label}"] for label in "012"]
    # classes are of equal size in the test split, so accuracy is the mean of their recalls
    assert result["score"]["value"] == pytest.approx(sum(recalls) / 3)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
def test_precision(tmp_path, path, precision):
    run = ("trainer.max_steps=2", "trainer.batch_size=32", f"trainer.precision={precision}")
    result = train(tmp_path / "run", *settings(path, "resnet", *run))
    assert 0 <= result["score"]["value"] <= 1


def test_dense_control_costs_the_same(tmp_path, path):
    run = ("trainer.max_steps=2", "trainer.batch_size=32", "moe.num_experts=4")
    routed = train(tmp_path / "routed", *settings(path, "resnet", *run))
    dense = train(tmp_path / "dense", *settings(path, "resnet", *run, "moe.control=iso_flop"))
    assert dense["matched_to"] == "topk"
    flops = [each["compute"]["flops_per_item"] for each in (routed, dense)]
    assert flops[1] == pytest.approx(flops[0], rel=0.05)


def test_brightness_is_learnt(tmp_path, path):
    """Classes of 0, 60 and 120 more brightness are distinguished within a few epochs."""
    more = ("trainer.max_steps=-1", "trainer.max_epochs=8", "trainer.batch_size=16")
    result = train(tmp_path / "run", *settings(path, "resnet", *more, "optimizer.lr=0.01"))
    assert result["score"]["value"] > 0.9


@pytest.mark.parametrize("experiment", ["cifar10", "cifar10_vit"])
def test_cifar10(tmp_path, experiment):
    if not CIFAR.exists():
        pytest.skip("../shared/data/cifar10 is not here")
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    for name in ("train.parquet", "test.parquet"):
        rows = next(pyarrow.parquet.ParquetFile(CIFAR / name).iter_batches(120))
        pyarrow.parquet.write_table(pyarrow.Table.from_batches([rows]), tmp_path / name)
    result = train(
        tmp_path / "run",
        f"experiment={experiment}",
        f"task.data.path={tmp_path}",
        *(("task.model.routed=[1]",) if experiment == "cifar10_vit" else ()),
    )
    assert len([name for name in result["scores"] if name.startswith("recall/")]) == 10


# ---- what is refused ----


def network(*settings):
    config = compose(list(settings))
    return build_backbone(config, build_task(config))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("task.model=resnt", "task.model=resnt: unknown; did you mean .resnet."),
        ("task.ids=place", "task.ids=place: unknown"),
        ("task.augmentation.flip=1.5", r"augmentation.flip=1.5 is invalid: .* in \[0, 1\]"),
        ("task.augmentation.crop=-0.1", r"augmentation.crop=-0.1 is invalid: .* in \[0, 1\)"),
        ("task.model.patch=0", r"task.model.patch=0 is invalid: expected an integer in \[1, 10\]"),
        (
            "task.model.routed=[4]",
            r"task.model.routed=\[4\] is invalid: expected .* integers in \[0, depth=4\)",
        ),
        (
            "task.label_smoothing=1",
            r"task.label_smoothing=1 is invalid: expected a number in \[0, 1\)",
        ),
        (
            "task.model.dim=30",
            "model.dim=30 is invalid: expected a positive multiple of heads=4",
        ),
        (
            "task.model.depth=0",
            "task.model.depth=0 is invalid: expected an integer in \\[1, 1024\\]",
        ),
        ("task.augmentation.fliip=0.1", "fliip.*did you mean 'flip'"),
        ("task.data.pth=x", "pth.*did you mean 'path'"),
    ],
)
def test_wrong_options(path, setting, message):
    with pytest.raises(ConfigError, match=message):
        network(*settings(path, "vit"), "task.augmentation=flip_crop", setting)


def test_no_data_is_named():
    with pytest.raises(ConfigError, match=r"task\.data: neither of path and hub is given"):
        build_task(compose(["task=image"]))


def test_whole_images_have_no_position(path):
    with pytest.raises(ConfigError, match=r"task\.ids=position: unknown"):
        build_task(compose([*settings(path), "task.ids=position"]))


def test_too_small_images(tmp_path):
    task = Image(data={"path": str(save_images(tmp_path, (7, 9)))})
    with pytest.raises(ConfigError, match=r"own\.npz: images of 7x9 pixels are too small"):
        task.data()


def test_a_patch_larger_than_an_image(path):
    config = compose([*settings(path, "vit"), "task.model.patch=11"])
    with pytest.raises(ConfigError, match=r"task\.model\.patch=11 is invalid: .*\[1, 10\]"):
        build_backbone(config, build_task(config))


def test_splits_are_recorded(tmp_path, path):
    train(
        tmp_path / "run", *settings(path, "resnet", "trainer.max_steps=1", "trainer.batch_size=8")
    )
    recorded = json.loads((tmp_path / "run" / "result.json").read_text())["data"]
    task = Image(data={"path": str(path)})
    assert recorded["sha256"] == task.data().sha256
    assert recorded["split_sha256"] == task.data().split_sha256
