"""Character properties: labels as Python has them, padding that changes nothing, honest splits."""

import unicodedata

import pytest
import torch

from routers import ConfigError
from tasks import build_backbone, build_task, compose
from tasks.char_properties import WORDS, CharProperties, word_ids

from ..router_samples import joins, layout, one_of_each, traits
from .cases import NARROW, train

SMALL = ("task=char_properties", "task.dim=16", "task.depth=1", NARROW)
UCD = unicodedata.ucd_3_2_0


@pytest.fixture(scope="module")
def data():
    return CharProperties().data()


def names_of(split):
    """The names a split holds, from its bytes."""
    rows = zip(split["x"].tolist(), split["lengths"].tolist(), strict=True)
    return [bytes(row[:length]).decode() for row, length in rows]


def test_labels_are_those_of_the_characters(data):
    classes = [target.classes for target in CharProperties().targets]
    for name, y in zip(names_of(data.val), data.val["y"].int().tolist(), strict=True):
        character = UCD.lookup(name)
        found = [names[label] for names, label in zip(classes, y, strict=True)]
        assert found == [
            UCD.category(character),
            UCD.bidirectional(character),
            UCD.east_asian_width(character),
        ]


def test_no_name_is_in_two_splits(data):
    names = [name for split in (data.train, data.val, data.test) for name in names_of(split)]
    assert len(names) == len(set(names)) == 12886


def test_words_and_pairs_of_words():
    one, other, last = word_ids([b"GREEK SMALL LETTER", b"SMALL LETTER", b"LETTER-SMALL"]).tolist()
    assert set(one) & set(other) - {0} == {one[1], one[2], one[4], one[6]}
    assert len(one) == 3 + 2 + 2  # words, pairs of them, the first and the last
    assert min(one) > 0
    assert other[5:] == [0, 0]
    assert other[0] == last[1]
    assert max(map(max, (one, other, last))) < WORDS


@pytest.mark.parametrize(
    "router", one_of_each(layout, lambda name: joins(name) and not traits(name).needs_task)
)
def test_padding_changes_nothing(data, router):
    """Short names next to a long one: outputs, loss and load stay."""
    config = compose([*SMALL, f"router={router}"])
    task = build_task(config)
    net = build_backbone(config, task).double().eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(p.numel()))
    short = {n: v[data.train["lengths"] < 15][:20] for n, v in data.train.items()}
    cut, wide = task.collate(short), task.collate(short)
    wide = {**wide, "x": short["x"][:, :60], "mask": torch.arange(60) < short["lengths"][:, None]}
    assert cut["x"].shape[1] < 15
    (one, [first]), (other, [second]) = net(cut), net(wide)
    for left, right in zip(one.logits, other.logits, strict=True):
        torch.testing.assert_close(left, right)
    torch.testing.assert_close(task.loss(one, cut), task.loss(other, wide))
    assert torch.equal(first.load, second.load)


def test_ids_are_of_the_end_of_a_name(data):
    task = CharProperties()
    batch = task.describe(task.collate(data.test))
    ends = [name[-4:] for name in names_of(data.test)]
    by_end = {}
    for end, key in zip(ends, batch["ids"].tolist(), strict=True):
        assert by_end.setdefault(end, key) == key
    assert len(set(by_end.values())) > 0.99 * len(by_end)


def test_features_count_bytes(data):
    task = CharProperties()
    features = task.features(task.collate(data.test))
    for name, counts in zip(names_of(data.test)[:50], features, strict=False):
        assert counts.sum() == len(name)
        assert counts[ord("A")] == name.count("A")


@pytest.mark.parametrize(
    "router",
    one_of_each(
        lambda name: traits(name).needs_ids,
        lambda name: joins(name) and not traits(name).needs_task,
    ),
)
def test_trains(tmp_path, router):
    brief = ("trainer.max_steps=2", "trainer.batch_size=512")  # few batches to evaluate
    result = train(tmp_path / "run", *SMALL, f"router={router}", *brief)
    assert {"accuracy/category", "accuracy/bidirectional", "accuracy/width"} <= result[
        "scores"
    ].keys()
    assert "recall/width/Na" in result["scores"]


def test_bad_option():
    with pytest.raises(ConfigError, match=r"^gram_dropout=1\.0 is invalid: expected"):
        CharProperties(gram_dropout=1.0)
