"""A torch ``Dataset`` or ``LightningDataModule`` of a user's as the data of a task."""

import importlib
import sys

import numpy as np
import pytest
import torch

from tasks import DATA, main
from tasks.readers import DataError

from ..cases import NARROW, assert_same_run, result_of, signal_at, tiny

FILE = '''
import random

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, random_split


def square(row):
    pixels = np.random.default_rng(row).integers(0, 90, (16, 16, 3)).astype(np.uint8)
    pixels[8 * (row % 2) :][:8, :8] += 120
    return pixels


class Squares(Dataset):
    """Squares on noise."""

    def __init__(self, number: int = 80, noise=0):
        self.number, self.noise = number, noise

    def __len__(self):
        return self.number

    def __getitem__(self, row):
        assert row < self.number
        shift = random.randrange(20) + np.random.randint(20) + int(torch.randint(20, ()))
        return Image.fromarray(square(row) + np.uint8(shift * self.noise)), row % 2


class Folds(Squares):
    classes = ["top", "bottom"]

    def __init__(self, root, *, train: bool = True):
        super().__init__(40 if train else 10)
        self.root, self.offset = root, 0 if train else 1000

    def __getitem__(self, row):
        x = torch.from_numpy(square(row + self.offset)).permute(2, 0, 1) / 255
        return {"image": x, "label": torch.tensor(row % 2)}


class Words(Dataset):
    def __init__(self, *, split: str):
        self.rows = {"train": 40, "val": 4, "test": 6}[split]

    def __len__(self):
        return self.rows

    def __getitem__(self, row):
        return {"text": f"{row} {('good', 'bad')[row % 2]}", "label": ("yes", "no")[row % 2]}


class TwoSplits(Squares):
    """As some sets of torchvision are."""

    def __init__(self, *, split: str = "train"):
        if split not in ("train", "test"):
            raise ValueError(f"Unknown value '{split}' for argument split.")
        super().__init__(40 if split == "train" else 10)


class Validated(Squares):
    def __init__(self, *, split: str, broken: bool = False):
        if broken and split == "val":
            raise ValueError("no file of labels")
        super().__init__({"train": 40, "valid": 6, "test": 4}[split])


class Replies(Dataset):
    """Texts of one class, or inputs alone."""

    def __init__(self, labelled: bool = True):
        self.labelled = labelled

    def __len__(self):
        return 5

    def __getitem__(self, row):
        return (f"good {row}", "yes") if self.labelled else f"good {row}"


class Module(LightningDataModule):
    def __init__(self, number: int = 60):
        super().__init__()
        self.number = number

    def prepare_data(self):
        self.prepared = True

    def setup(self, stage):
        assert self.prepared
        if stage == "fit":
            self.fit = random_split(Squares(self.number), [self.number - 12, 12])

    def train_dataloader(self):
        return DataLoader(self.fit[0], batch_size=4)

    def val_dataloader(self):
        return DataLoader(self.fit[1], batch_size=4)


class Redrawn(Module):
    """Draws all its splits for every stage."""

    def setup(self, stage):
        self.parts = random_split(Squares(self.number), [self.number - 24, 12, 12])
        self.fit = self.parts

    def test_dataloader(self):
        return DataLoader(self.parts[2])


class TestOnly(LightningDataModule):
    def test_dataloader(self):
        return DataLoader(Squares())


class Stream(IterableDataset):
    def __iter__(self):
        yield from ()


class Sample(Dataset):
    """Samples of one kind that cannot be used."""

    KINDS = {
        "triple": (1, 2, 3),
        "keys": {"a": 1, "b": 2},
        "object": (object(), 1),
        "normalized": (torch.full((3, 8, 8), -2.0), 1),
        "palette": (Image.new("P", (8, 8)), 1),
        "empty": ("", 1),
    }

    def __init__(self, kind: str):
        self.kind = kind

    def __len__(self):
        return 10

    def __getitem__(self, row):
        if self.kind == "sizes":
            return np.zeros((8, 8 + row // 7), np.uint8), row % 2
        if self.kind == "mixed":
            return [np.zeros((8, 8), np.uint8), "text"][row % 2], row % 2
        if self.kind == "raises":
            raise KeyError("lost")
        return self.KINDS[self.kind]
'''


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """The file on the import path, and all samples read by this process."""
    (tmp_path / "own_sets.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("tasks.loading.on_demand.MAX_WORKERS", 0)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("own_sets", None)


@pytest.fixture
def large(monkeypatch):
    """Whatever the size, images do not fit in memory."""
    monkeypatch.setattr("tasks.readers.torch_samples.MAX_COLLECTED", 0)


def read(name, **options):
    return DATA.build(f"own_sets:{name}", **options).read()


def sizes(splits):
    return [len(part.y) for part in (splits.train, splits.val, splits.test)]


def test_pairs_of_pillow_images():
    found = read("Squares", number=40)
    assert sizes(found) == [32, 4, 4]
    assert (found.name, found.made) == ("Squares", ("test", "val"))
    assert found.train.classes == ("0", "1")
    first = np.random.default_rng(0).integers(0, 90, (16, 16, 3)).astype(np.uint8)
    first[:8, :8] += 120
    assert found.train.x[0].permute(1, 2, 0).tolist() == first.tolist()


def test_train_and_test_of_a_class_with_that_option():
    found = read("Folds", root="here")
    assert sizes(found) == [36, 4, 10]
    assert found.train.classes == ("top", "bottom")
    assert found.train.x.dtype == torch.uint8
    assert found.train.x.max() > 200
    assert found.made == ("val",)


def test_splits_of_a_class_with_that_option():
    found = read("Words")
    assert sizes(found) == [40, 4, 6]
    assert found.test.texts[:2] == [b"0 good", b"1 bad"]
    assert (found.train.classes, found.test.y[:2].tolist()) == (("no", "yes"), [1, 0])


def test_a_split_that_the_class_does_not_have_is_taken_from_training_samples():
    found = read("TwoSplits")
    assert (sizes(found), found.made) == ([36, 4, 10], ("val",))
    found = read("Validated")
    assert (sizes(found), found.made) == ([40, 6, 4], ())
    with pytest.raises(DataError, match="no file of labels"):
        read("Validated", broken=True)


def test_other_data_is_its_test_split_or_all_of_it():
    same = DATA.build("own_sets:Squares")
    known = same.read()
    found = DATA.build("own_sets:TwoSplits").read_other(same, known, labelled=True)
    assert torch.equal(found.test.x, read("TwoSplits").test.x)
    assert (found.test.y.tolist(), found.train) == ([0, 1] * 5, known.train)
    found = same.read_other(same, known, labelled=True)
    assert (len(found.test.y), found.sha256) == (80, known.sha256)
    module = DATA.build("own_sets:Module").read_other(same, known, labelled=False)
    assert module.test.y.tolist() == [-1] * 60
    with pytest.raises(DataError, match="the label 'top' is none that the model was trained on"):
        DATA.build("own_sets:Folds", root=1).read_other(same, known, labelled=True)


def test_data_module():
    """Splits that it draws at random are the same each time, and the draw disturbs no other."""
    found = read("Module")
    assert sizes(found) == [44, 12, 4]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert read("Module").sha256 == found.sha256 != read("Module", number=50).sha256
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["Module", "Redrawn"])
def test_splits_drawn_at_random_share_no_sample(name):
    found = read(name)
    parts = [{x.numpy().tobytes() for x in part.x} for part in (found.train, found.val, found.test)]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 60


@pytest.mark.parametrize("noise", [0, 1])
def test_kept_in_memory_or_not_is_the_same_data(monkeypatch, noise):
    collected = read("Squares", noise=noise)
    monkeypatch.setattr("tasks.readers.torch_samples.MAX_COLLECTED", 0)
    found = read("Squares", noise=noise)
    assert (found.sha256, found.split_sha256) == (collected.sha256, collected.split_sha256)
    assert not isinstance(found.train.x, torch.Tensor)
    assert torch.equal(found.train.x[:], collected.train.x)
    assert torch.equal(found.test.x[torch.tensor([1, 0])], collected.test.x[[1, 0]])
    assert torch.equal(found.test.y, collected.test.y)


SETTINGS = (
    "task=image",
    "task.model=vit",
    "task.model.patch=8",
    "router=noisy_topk",
    "trainer.max_epochs=2",
)
SETTINGS = (*tiny("image"), NARROW, *SETTINGS, "trainer.max_steps=-1", "trainer.batch_size=16")


@pytest.mark.usefixtures("large")
def test_resume_is_exact_for_data_on_demand(tmp_path):
    """Stopped in each epoch; random transforms of the data set included."""
    data = "task.data={name: 'own_sets:Squares', noise: 1}"
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert main([*SETTINGS, data, f"out={whole}"]) == 0
    for start, batch in (([*SETTINGS, data, f"out={out}"], 1), ([f"resume={out}"], 4)):
        with signal_at(batch):
            assert main(start) == 130
    assert main([f"resume={out}"]) == 0
    assert_same_run(out, whole)
    assert result_of(out)["data"]["rows"] == {"train": 64, "val": 8, "test": 8}


def test_texts_train(tmp_path, capsys):
    settings = [*tiny("text_classification"), NARROW, "trainer.batch_size=16"]
    name = ["task=text_classification", "task.data.name=own_sets:Words"]
    assert main([*settings, *name, f"out={tmp_path / 'run'}"]) == 0
    assert result_of(tmp_path / "run")["data"]["name"] == "Words"
    assert main(["test", str(tmp_path / "run")]) == 0  # reads it again: the same by its hash
    replies, run = "task.data=own_sets:Replies", str(tmp_path / "run")
    assert main(["test", run, replies]) == 0
    assert "Tested on 5 samples of Replies" in capsys.readouterr().out
    bare = "task.data={name: 'own_sets:Replies', labelled: false}"
    assert main(["predict", run, bare, f"out={tmp_path / 'x.csv'}"]) == 0
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 6
    capsys.readouterr()
    for other, message in (
        ("task.data.path=other.csv", "task.data.path: unknown"),
        (bare, "Replies, train, sample 0: is a str; expected (x, y)"),
        ("task.data=own_sets:Squares", "an image of 3x16x16 (channels x height x width), and the"),
        ("task.data={name: texts, path: x.csv}", "task.data.name=texts: the run was trained with"),
    ):
        assert main(["test", run, other]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Stream", {}, "Stream, train: Stream has no length or no samples by number, so training"),
        (
            "TestOnly",
            {},
            "TestOnly: has no train_dataloader, and training needs its samples; define",
        ),
        ("Squares", {"number": 0}, "Squares, train: holds no sample"),
        ("Sample", {"kind": "triple"}, "sample 0: is a tuple of 3; expected .x, y., or a mapping"),
        ("Sample", {"kind": "keys"}, "sample 0: has the keys a, b; expected one input such as"),
        ("Sample", {"kind": "object"}, "sample 0: the input is a object; expected an image"),
        ("Sample", {"kind": "normalized"}, "pixels from -2 to -2; expected uint8, or floats"),
        ("Sample", {"kind": "palette"}, "the image is of mode P; convert it to L or RGB"),
        ("Sample", {"kind": "empty"}, "sample 0: the text is empty; leave it out"),
        ("Sample", {"kind": "sizes"}, r"sample 7: an image of 1x8x9 \(.*\), and the first one"),
        ("Sample", {"kind": "mixed"}, "sample 1: text, and the first one an image of 1x8x8"),
        ("Sample", {"kind": "raises"}, r"sample 0: KeyError: 'lost' \(.*own_sets.py, line \d+\)"),
        ("Folds", {}, "task.data.root: required; give task.data.root=VALUE"),
        ("Folds", {"root": 1, "train": True}, "task.data.train: unknown. Allowed: root"),
        ("Squares", {"number": "x"}, "task.data.number=x: expected int, got str"),
    ],
)
def test_what_cannot_be_used_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        read(name, **options)
    assert isinstance(error.value, DataError) or "task.data" in message
