"""Tables for networks: numbers in pieces, categories as vectors, views by themselves."""

import csv
import gzip
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from routers import ConfigError
from tasks import Batch, build_backbone, build_task, compose
from tasks.backbones._tabular import (
    Numbers,
    TableEncoder,
    ViewsEncoder,
    encode_numbers,
    fit_numbers,
)

from ..router_samples import is_sum, layout, one_of_each, traits
from .cases import NARROW, checkpoint_of, train

CENSUS = Path(__file__).resolve().parents[3] / "shared/data/census_income/census-income.test.gz"


def table(rows=50, seed=0):
    """Codes, numbers of very different kinds, and where they are missing."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(n, (rows,), generator=generator) for n in (3, 7, 4)], 1)
    normal = torch.randn(rows, generator=generator)
    mostly_zero = normal.clamp_min(1) - 1
    constant = torch.full((rows,), 4.0)
    x = torch.stack([normal * 100, mostly_zero, constant], 1)
    return codes, x, torch.rand(rows, 3, generator=generator) < 0.2


def fitted(bins=4):
    _, x, missing = table()
    return fit_numbers(x.masked_fill(missing, math.nan), bins)


def slow_pieces(value, missing, mean, std, edges):
    """One number's encoding, bin by bin."""
    if missing:
        return [0.0] * len(edges) + [1.0]
    filled = []
    for low, high in pairwise(edges):
        part = (value - low) / (high - low) if high > low else 0.0
        filled.append(min(max(part, 0.0), 1.0))
    return [*filled, min(max((value - mean) / std, -5.0), 5.0), 0.0]


def test_pieces_against_a_loop():
    _, x, missing = table(seed=1)
    numbers = fitted()
    found = encode_numbers(x, missing, numbers)
    assert found.shape == (50, 3, 4 + 2)
    expected = [
        [
            slow_pieces(x[i, j].item(), missing[i, j], *(values[j].tolist() for values in parts))
            for j in range(3)
        ]
        for i in range(50)
        for parts in [(numbers.mean, numbers.std, numbers.edges)]
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_edges_by_hand():
    """Quantiles of the values there are, each counted once; the mean counts all."""
    column = torch.tensor([0.0] * 96 + [10.0, 20.0, 30.0, 40.0, math.nan]).unsqueeze(1)
    numbers = fit_numbers(column, bins=4)
    assert numbers.edges.tolist() == [[0, 10, 20, 30, 40]]
    assert numbers.mean.tolist() == [1.0]


@pytest.mark.parametrize("value", [math.nan, 3.0])
def test_columns_that_say_nothing(value):
    """Always missing, or always the same: finite, whatever comes later."""
    numbers = fit_numbers(torch.full((5, 1), value), bins=4)
    x = torch.tensor([[value], [7.0], [-7.0]]).nan_to_num()
    assert encode_numbers(x, torch.tensor([[False]] * 3), numbers).isfinite().all()


def test_large_values_stay_small():
    found = encode_numbers(torch.full((1, 3), 1e30), torch.zeros(1, 3).bool(), fitted())
    assert found.abs().max() <= 5


def encoder(categorical=(0, 1, 2), numeric=(0, 1, 2), dropout=0.0):
    torch.manual_seed(0)
    sizes = (3, 7, 4)
    return TableEncoder(
        [sizes[c] for c in categorical],
        fitted().of(numeric),
        categorical=categorical,
        numeric=numeric,
        dim=8,
        dropout=dropout,
    )


def batch(seed=2) -> Batch:
    codes, x, missing = table(seed=seed)
    return {"categorical": codes, "x": x, "missing": missing}


@pytest.mark.parametrize(
    ("categorical", "numeric"),
    [((), (1,)), ((1,), ()), ((2, 0), (0, 2)), ((0, 1, 2), (1,)), ((), (0, 1, 2))],
)
def test_encoder_against_a_loop(categorical, numeric):
    net = encoder(categorical, numeric).double()
    values = batch()
    pieces = encode_numbers(values["x"].double(), values["missing"], _double(fitted()))
    sizes = (3, 7, 4)
    for row in range(5):
        expected, start = net.bias.clone(), 0
        for c in categorical:
            expected = expected + net.codes[start + values["categorical"][row, c]]
            start += sizes[c]
        for place, n in enumerate(numeric):
            expected = expected + pieces[row, n] @ net.lines[place]
        found = net({**values, "x": values["x"].double()})[row]
        torch.testing.assert_close(found, expected)


def _double(numbers: Numbers) -> Numbers:
    return Numbers(numbers.mean.double(), numbers.std.double(), numbers.edges.double())


def test_columns_are_left_out_in_training_alone():
    net = encoder(dropout=0.5)
    assert not torch.equal(net.train()(batch()), net(batch()))
    assert torch.equal(net.eval()(batch()), net(batch()))
    torch.manual_seed(0)
    net.train()
    mean = torch.stack([net(batch()) for _ in range(600)]).mean(0)
    torch.testing.assert_close(mean, net.eval()(batch()), atol=0.5, rtol=0.1)


def test_views_see_their_own_columns():
    net = ViewsEncoder([encoder((0,), (0,)), encoder((1,), ()), encoder((2,), (1, 2))]).eval()
    values = batch()
    before = net(values)
    assert before.shape == (4, 50, 8)
    torch.testing.assert_close(before[3], before[:3].sum(0))
    other = values["categorical"].clone()
    other[:, 1] = (other[:, 1] + 1) % 7
    moved = (net({**values, "categorical": other}) != before).flatten(1).any(1)
    assert moved.tolist() == [False, True, False, True]


# ---- whole runs on a file ----


@pytest.fixture
def file(tmp_path):
    """Targets of every kind, missing values and labels, and a category only in later rows."""
    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(["a", "b", "n", "m", "yes", "kind", "price"])
        for row in range(400):
            a, b, kind = torch.randint(3, (3,), generator=generator).tolist()
            n, m = torch.randn(2, generator=generator).tolist()
            blank = torch.rand(6, generator=generator) < 0.2
            values = ["xyz"[a], f"new{row}" if row % 7 == 0 else "uvw"[b], f"{n:.3f}", f"{m:.3f}"]
            labels = ["ny"[n > 0], f"k{kind}", f"{10 * n + a:.2f}"]
            lines.writerow(
                ["" if gone else v for v, gone in zip(values, blank, strict=False)]
                + labels[:1]
                + ["" if gone else v for v, gone in zip(labels[1:], blank[4:], strict=True)]
            )
    return path


def settings(file):
    data = {
        "path": str(file),
        "categorical": ["a", "b"],
        "numeric": ["n", "m"],
        "targets": {
            "yes": {"column": "yes", "kind": "binary", "positive": "y"},
            "kind": {"column": "kind", "kind": "classes"},
            "price": {"column": "price", "kind": "number"},
        },
        "views": {"left": ["a", "n"], "right": ["b"], "last": ["m"]},
    }
    return ["task=multitask", f"task.data={data}"]


def own(sharing):
    return {"ple": ("task.sharing.own=1",), "views": ("moe.num_experts=6",)}.get(sharing, ())


@pytest.mark.parametrize("sharing", ["mmoe", "ple", "views", "shared_bottom", "single"])
def test_trains(tmp_path, file, sharing):
    result = train(
        tmp_path / "run",
        *settings(file),
        "task.depth=1",
        f"task.sharing={sharing}",
        *own(sharing),
        "trainer.max_steps=3",
    )
    scores = result["scores"]
    assert {"auc/yes", "accuracy/kind", "error/price", "recall/kind/k0"} <= scores.keys()
    assert all(math.isfinite(value) for value in scores.values())
    assert all(
        value.isfinite().all() for value in checkpoint_of(tmp_path / "run")["state_dict"].values()
    )


KINDS = one_of_each(
    lambda name: (traits(name).needs_ids, traits(name).causal, "is_dense" in layout(name)),
    lambda name: is_sum(name) and not traits(name).needs_task,
)


@pytest.mark.parametrize(
    ("router", "sharing"),
    [(router, ("mmoe", "views")[number % 2]) for number, router in enumerate(KINDS)],
)
def test_routers(tmp_path, file, router, sharing):
    """Also one that reads ids, one that looks at the batch, and one that takes every expert."""
    more = (*own(sharing), "task.depth=1", f"task.sharing={sharing}", f"router={router}")
    train(tmp_path / "run", *settings(file), *more, "trainer.max_steps=2")


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "bf16-true"])
def test_precision(tmp_path, file, precision):
    train(
        tmp_path / "run", *settings(file), f"trainer.precision={precision}", "trainer.max_steps=2"
    )


def test_numbers_are_fitted_on_training_rows(file):
    task = build_task(compose(settings(file)))
    train_rows = task.table.train.numeric
    assert torch.equal(task.numbers.edges, fit_numbers(train_rows, 16).edges)
    price = task.targets[2]
    labels = task.table.train.targets[:, 2]
    known = labels[~labels.isnan()].double()
    assert price.mean == pytest.approx(known.mean().item())
    assert price.scale == pytest.approx((known - known.mean()).abs().mean().item())
    assert [target.complete for target in task.targets] == [True, False, False]


def splits(tmp_path, **labels):
    """A file per split with a number and the given labels of each, in turn."""
    for split, values in labels.items():
        rows = "".join(f"{n},{values[n % len(values)]}\n" for n in range(24))
        (tmp_path / f"{split}.csv").write_text("n,label\n" + rows)
    return tmp_path


def one_target(folder, kind):
    targets = f"{{t: {{column: label, kind: {kind}}}}}"
    return ["task=multitask", f"task.data={{path: {folder}, numeric: [n], targets: {targets}}}"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_labels_missing_in_one_split_alone(tmp_path, split):
    """They have a separate column in the specialization table."""
    labels = {"train": "ab", "val": "ab", "test": "ab"} | {split: ["a", "", "b"]}
    result = train(tmp_path / "run", *one_target(splits(tmp_path, **labels), "classes"), *FEW)
    assert result["data"]["rows"] == {"train": 24, "val": 24, "test": 24}
    with (tmp_path / "run" / "confusion.csv").open(newline="") as file:
        assert {line["kind"] for line in csv.DictReader(file)} == {"a", "b", "unlabelled"}


FEW = ("trainer.batch_size=8", "trainer.max_steps=2")


@pytest.mark.parametrize(
    ("kind", "split", "labels", "message"),
    [
        ("binary", "val", "a", "the 24 rows of val hold 1 of the 2 values that the score"),
        ("binary", "test", [""], "the 24 rows of test hold 0 of the 2 values that the score"),
        ("classes", "test", [""], "hold 0 of the 1 values that the score of target 't' needs"),
        ("number", "val", [""], "a larger task.data.val, or take the target out"),
    ],
)
def test_splits_that_cannot_judge(tmp_path, kind, split, labels, message):
    """Without two classes there is no AUC; without labels there is no score at all."""
    pair = ["1", "2"] if kind == "number" else ["a", "b"]
    folder = splits(tmp_path, **{"train": pair, "val": pair, "test": pair, split: labels})
    with pytest.raises(ConfigError) as error:
        build_task(compose(one_target(folder, kind))).data()
    assert message in str(error.value)


def test_one_class_is_judged_by_accuracy(tmp_path):
    folder = splits(tmp_path, train="ab", val="a", test="ab")
    assert len(build_task(compose(one_target(folder, "classes"))).data().val["y"]) == 24


def test_two_experts_of_three_at_work(file):
    """All targets share a gate, which leaves one view out."""
    more = ("task.sharing=views", "moe.num_experts=3", "router=topk", "router.k=2", NARROW)
    config = compose([*settings(file), "expert=mlp", *more, "task.depth=1"])
    task = build_task(config)
    data = task.data()
    net = build_backbone(config, task).eval()
    _, [routing] = net(data.test)
    assert routing.load.sum() == 2 * len(data.test["y"])
    assert (routing.assigned_mask.sum(1) == 2).all()


def test_ids_are_codes(file):
    task = build_task(compose([*settings(file), "task.ids=a"]))
    data = task.data()
    assert torch.equal(task.describe(data.val)["ids"], data.val["categorical"][:, 0])
    widest = build_task(compose(settings(file)))
    assert torch.equal(widest.describe(data.val)["ids"], data.val["categorical"][:, 1])
    assert task.features(data.val).shape == (len(data.val["y"]), 2 + 2 * 18)


def test_no_categorical_columns(file):
    """Then nothing names a row, and hash routing is refused."""
    data = f"{{path: {file}, numeric: [n, m], targets: {{kind: {{column: kind}}}}}}"
    task = ["task=multitask", f"task.data={data}", "expert=mlp"]
    with pytest.raises(ConfigError, match="needs ids"):
        build_backbone(config := compose([*task, "router=hash"]), build_task(config))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.ids=n", "task.ids=n: unknown"),
        ("task.bins=0", "task.bins=0 is invalid: expected"),
        ("task.column_dropout=1.0", "task.column_dropout=1.0 is invalid: expected"),
        ("task.weights={prize: 2.0}", "task.weights.prize: unknown; did you mean 'price'"),
    ],
)
def test_bad_options(file, override, message):
    with pytest.raises(ConfigError) as error:
        build_task(compose([*settings(file), override]))
    assert message in str(error.value)


def test_views_must_be_declared(file):
    data = f"{{path: {file}, numeric: [n, m], targets: {{kind: {{column: kind}}}}}}"
    with pytest.raises(ConfigError, match=r"task\.sharing=views: no views are declared"):
        build_task(compose(["task=multitask", f"task.data={data}", "task.sharing=views"]))


# ---- census ----


@pytest.fixture(params=["census", "census_views"])
def census(request):
    return compose([f"experiment={request.param}"])


def test_answers_are_no_inputs_of_census(census):
    """Marital status holds an answer; the instance weight belongs to the sample's design."""
    data = census.task["data"]
    features = [*data["categorical"], *data["numeric"]]
    assert len(data["columns"]) == 42
    assert data["columns"][7] == "marital_status" == data["targets"]["never_married"]["column"]
    assert data["columns"][24] == "instance_weight"
    assert data["columns"][41] == "income" == data["targets"]["income"]["column"]
    assert set(data["columns"]) - set(features) == {"marital_status", "instance_weight", "income"}
    viewed = [column for view in data.get("views", {}).values() for column in view]
    assert not viewed or sorted(viewed) == sorted(features)


def test_both_experiments_read_one_table():
    one, other = (
        compose([f"experiment={name}"]).task["data"] for name in ("census", "census_views")
    )
    assert other.pop("views")
    assert not one.pop("views", None)
    assert one == other


@pytest.mark.skipif(not CENSUS.exists(), reason=f"{CENSUS} is not there")
@pytest.mark.parametrize("experiment", ["census", "census_views"])
def test_census_runs(tmp_path, experiment):
    """Its first 3,000 rows."""
    path = tmp_path / "few.gz"
    with gzip.open(CENSUS, "rt") as whole, gzip.open(path, "wt", compresslevel=1) as few:
        few.writelines(line for _, line in zip(range(3000), whole, strict=False))
    result = train(
        tmp_path / "run",
        "task=multitask",
        f"experiment={experiment}",
        f"task.data.path={path}",
        "task.depth=1",
        "trainer.max_steps=3",
    )
    assert {"auc/income", "auc/never_married"} <= result["scores"].keys()
