"""Character names: the data is what it says, and a network trains on it."""

import unicodedata

import torch

from tasks import TASKS
from tasks.text.unicode_names import read_names

from ..cases import result_of, train


def test_names_and_properties():
    found = read_names()
    assert len(set(found.names)) == len(found.names) == 12886
    ucd = unicodedata.ucd_3_2_0
    for place in range(0, len(found.names), 97):
        character = ucd.lookup(found.names[place].decode())
        values = {name: p.classes[p.y[place]] for name, p in found.properties.items()}
        assert values == {
            "category": ucd.category(character),
            "bidirectional": ucd.bidirectional(character),
            "width": ucd.east_asian_width(character),
        }


def test_the_same_on_every_python():
    found = read_names()
    assert found.sha256.startswith("9a0e3442767d36c0")
    assert found.split_sha256.startswith("6486ca450d5988d3")


def test_every_name_is_in_one_split():
    found = read_names()
    places = torch.cat([found.train, found.val, found.test])
    assert torch.equal(places.sort().values, torch.arange(12886))
    assert len(found.val) == len(found.test) == 1289


def test_trains(tmp_path):
    assert TASKS.get_part("char_names").has_ids
    train(tmp_path / "run", "task=char_names", "trainer.max_steps=2")
    result = result_of(tmp_path / "run")
    assert result["data"]["name"] == "char_names"
    assert result["scores"].keys() >= {"accuracy", "macro_f1"}


def test_majority():
    task = TASKS.build("char_names")
    y = task.data().test["y"]
    assert task.texts.train.classes[int(y.mode().values)] == "Lo"
    assert 0.36 < (y == y.mode().values).float().mean() < 0.42
