"""The real data sets, read through the paths a user would give."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import torch

from tasks.readers import (
    CorpusSource,
    ImageSource,
    TableSource,
    TextSource,
)

from .files import real

CENSUS = [f"c{n}" for n in range(1, 43)]  # 1-based, as the data's README counts
NUMERIC = ["c1", "c6", "c17", "c18", "c19", "c31", "c40"]


def test_cifar10(tmp_path):
    """A part of it; the whole set takes half a minute."""
    path = real("cifar10/test.parquet")
    part = pq.read_table(path).slice(0, 500)
    pq.write_table(part, tmp_path / "part.parquet")
    found = ImageSource(path=str(tmp_path)).read()
    assert found.train.x.shape[1:] == (3, 32, 32)
    assert found.train.classes[:3] == ("airplane", "automobile", "bird")
    labels = torch.cat([found.train.y, found.val.y, found.test.y])
    assert labels.bincount().tolist() == torch.tensor(part["label"].to_pylist()).bincount().tolist()
    assert 110 < found.train.x.float().mean() < 130


def test_tweets():
    path = real("tweet_sentiment_multilingual")
    found = TextSource(path=path, group="language").read()
    assert [len(p.texts) for p in (found.train, found.val, found.test)] == [14712, 2592, 6960]
    assert found.train.classes == ("negative", "neutral", "positive")
    assert found.train.groups[0] == "arabic"
    assert found.train.y.bincount().tolist() == [4904] * 3
    assert found.test.group.bincount().tolist() == [870] * 8
    first = pq.read_table(Path(path) / "test.parquet").slice(0, 1).to_pylist()[0]
    assert found.test.texts[0] == first["text"].encode()


def test_census_income():
    path = real("census_income/census-income.test.gz")
    targets = {
        "income": {"column": "c42", "kind": "binary", "positive": "50000+."},
        "never_married": {"column": "c8", "kind": "binary", "positive": "Never married"},
    }
    skip = {*NUMERIC, "c8", "c25", "c42"}  # c25 is the instance weight
    found = TableSource(
        path=path,
        columns=CENSUS,
        numeric=NUMERIC,
        categorical=[name for name in CENSUS if name not in skip],
        targets=targets,
        val=0.09,
        rows=80_000,
    ).read()
    train, test = found.train, found.test
    assert found.sha256 == "5ac4cacd3ca9f1ecb10de1a0a41e4ac68fdc419e3fec190f5c0c6cc03b2ea659"
    assert train.categorical.shape == (80_000, 32)
    assert not train.numeric.isnan().any()
    assert (train.categorical == 0).any()  # "?" of the migration columns
    assert train.categorical.max(0).values.lt(torch.tensor(train.cardinalities)).all()
    # 6.2% earn more, in every split alike
    assert abs(float(train.targets[:, 0].mean() - test.targets[:, 0].mean())) < 0.001
    assert 0.061 < float(test.targets[:, 0].mean()) < 0.063


def test_tiny_shakespeare():
    path = real("tiny_shakespeare")
    found = CorpusSource(path=path).read()
    content = (Path(path) / "input.txt").read_bytes()
    joined = torch.cat([found.train, found.val, found.test])
    assert joined.numpy().tobytes() == content
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert len(found.test) == len(content) // 10
