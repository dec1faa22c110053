"""Planted clusters: what is drawn, and that its best routing is what it says."""

import pytest
import torch

from routers import ConfigError
from routers.comparison import normalized_mutual_information
from tasks import build

from .cases import result_of, train_any

FULL = ("trainer.max_steps=-1", "trainer.max_epochs=12", "trainer.batch_size=256", "task.depth=1")


@pytest.fixture(scope="module")
def data():
    return build("planted").data()


def test_clusters_have_one_size_and_the_same_marks_everywhere(data):
    for split, rows in ((data.train, 8192), (data.val, 1024), (data.test, 2048)):
        assert split["x"].shape == (rows, 24)
        assert torch.bincount(split["cluster"]).tolist() == [rows // 8] * 8
    means = [
        torch.stack([split["x"][split["cluster"] == c].mean(0) for c in range(8)])
        for split in (data.train, data.test)
    ]
    torch.testing.assert_close(means[0], means[1], rtol=0, atol=0.3)


def test_ids_are_made_where_the_points_are():
    points = torch.zeros(2, 24, device="meta")
    assert build("planted").describe({"x": points})["ids"].device.type == "meta"


def test_no_rows_are_shared_between_splits(data):
    rows = torch.cat([data.train["x"], data.val["x"], data.test["x"]])
    assert len(rows.unique(dim=0)) == len(rows)


def test_a_linear_model_per_cluster_knows_the_class_and_one_for_all_does_not(data):
    def accuracy(train, test):
        x = train["x"].double()
        target = torch.nn.functional.one_hot(train["y"], 4).double()
        bias = torch.ones(len(x), 1, dtype=torch.double)
        weights = torch.linalg.lstsq(torch.cat([x, bias], 1), target, driver="gelsd").solution
        x = test["x"].double()
        scores = torch.cat([x, bias[:1].expand(len(x), 1)], 1) @ weights
        return float((scores.argmax(1) == test["y"]).double().mean())

    def of(split, cluster):
        rows = split["cluster"] == cluster
        return {"x": split["x"][rows], "y": split["y"][rows]}

    each = [accuracy(of(data.train, c), of(data.test, c)) for c in range(8)]
    assert sum(each) / 8 > 0.85  # least squares is not the best linear rule
    assert accuracy(data.train, data.test) < 0.45


def test_a_router_that_looks_finds_more_than_one_that_does_not(tmp_path):
    found = {}
    for router in ("topk", "random_fixed"):
        # what does not learn to route is as it will be after an epoch
        options = ["router.weighting=probability"] if router == "topk" else ["trainer.max_epochs=1"]
        args = ["task=planted", "task.dim=12", "task.clusters=4", "moe.num_experts=4"]
        args += [f"router={router}", "router.k=1", *FULL, *options, "optimizer.lr=0.05"]
        train_any(tmp_path / router, *args, "expert.hidden=8")
        found[router] = result_of(tmp_path / router)["layers"][0]["nmi"]["cluster"]
    assert found["topk"] > 0.5
    assert found["random_fixed"] < 0.2


def test_ids_are_bits(data):
    task = build("planted")
    x = torch.tensor([[1.0, -1, 1, -1, -1, -1, -1, -1, 5], [-1.0] * 9])
    assert task.describe({"x": x})["ids"].tolist() == [5, 0]


def test_the_best_routing_scores_one(data):
    table = torch.zeros(8, 8)
    for c, rows in enumerate(torch.bincount(data.test["cluster"])):
        table[(c + 3) % 8, c] = rows
    assert normalized_mutual_information(table) == pytest.approx(1)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("clusters", 1, ">= 2"),
        ("classes", 0, ">= 2"),
        ("dim", 8, "> clusters=8"),
        ("depth", 0, r"in \[1, 1024\]"),
        ("separation", 0.0, "> 0"),
    ],
)
def test_options(option, value, message):
    with pytest.raises(ConfigError, match=rf"task\.{option}={value} is invalid: .*{message}"):
        build("planted", **{option: value})
