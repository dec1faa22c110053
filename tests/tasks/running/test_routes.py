"""Routes of runs: recorded while they train, and by the command."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch

import experts
import tasks
from tasks import Run, build, compose, main
from tasks.routes import RouteTable

from ...sweeps.pages import Page
from ..cases import (
    NARROW,
    TINY,
    assert_same,
    checkpoint_of,
    result_of,
    signal_at,
    tiny,
    train,
    untimed,
)
from ..own_data import corpus, texts

pytest.importorskip("pyarrow")

RECORD = "trainer.record_routes={every: 2, items: 70}"
SETTINGS = ("moe.capacity=0.9", "expert.dropout=0.1", "trainer.max_steps=5")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    train(out, RECORD, *SETTINGS)
    return out


@pytest.fixture(scope="module")
def routes(trained):
    """The folder that the command leaves."""
    assert main(["routes", str(trained), f"against={trained}"]) == 0
    return trained / "routes" / "test-last"


def tables(out):
    found = {path.stem: RouteTable.read(path) for path in (out / "routes").glob("step-*.parquet")}
    return dict(sorted(found.items(), key=lambda pair: int(pair[0][5:])))


def assert_same_tables(left, right):
    assert left.about == right.about
    for one, other in zip(left.layers, right.layers, strict=True):
        one.check_same_items(other)
        for part in ("offsets", "experts", "weights", "kept"):
            assert np.array_equal(getattr(one.routes, part), getattr(other.routes, part))


def routed_one_by_one(run, split, size):
    """The routings of each layer, from passes of the network as it is."""
    found = None
    with torch.no_grad():
        for first in range(0, len(split["y"]), size):
            batch = {name: values[first : first + size] for name, values in split.items()}
            routings = run.module.eval().backbone(run.module.prepare_batch(batch))[1]
            found = found or [[] for _ in routings]
            for of_layer, routing in zip(found, routings, strict=True):
                of_layer.append(routing)
    return found


def experts_by_item(routings):
    """Experts of every item after drops, in the order of items."""
    return [
        sorted(routing.expert[routing.item == item].tolist())
        for routing in routings
        for item in range(routing.num_items)
        if routing.mask is None or routing.mask[item]
    ]


def kept_experts(layer):
    routes = layer.routes
    return [
        sorted(routes.experts[start:stop][routes.kept[start:stop]].tolist())
        for start, stop in zip(routes.offsets, routes.offsets[1:], strict=False)
    ]


# ---- while a run trains ----


def test_tables_of_the_same_samples_every_few_steps(trained):
    found = tables(trained)
    assert [*found] == ["step-0", "step-2", "step-4", "step-5"]
    last = found["step-5"]
    run = tasks.load(trained)
    assert last.about.items() >= {"step": 5, "split": "val", "samples": 70}.items()
    assert (last.about["data_sha256"], last.about["router"]) == (run.data.sha256, "topk")
    val = {name: values[:70] for name, values in run.data.val.items()}
    for layer, routings in zip(last.layers, routed_one_by_one(run, val, 64), strict=True):
        assert kept_experts(layer) == experts_by_item(routings)
        assert layer.sample.tolist() == [sample for sample in range(70) for _ in range(16)]
        assert layer.position.tolist() == [*range(16)] * 70
        assert layer.routes.dropped > 0


def test_the_result_has_churn_and_saturation(trained):
    found = [*tables(trained).values()]
    for number, layer in enumerate(result_of(trained)["layers"]):
        over_steps, chosen = layer["routes"], [kept_experts(t.layers[number]) for t in found]

        def same(one, other):
            pairs = list(zip(one, other, strict=True))
            shares = [len({*a} & {*b}) / max(len(a), len(b)) if a or b else 1 for a, b in pairs]
            return sum(shares) / len(shares)

        assert over_steps["steps"] == [0, 2, 4, 5]
        assert over_steps["saturation"] == pytest.approx([same(c, chosen[-1]) for c in chosen])
        churn = [1 - same(*pair) for pair in pairwise(chosen)]
        assert over_steps["churn"] == pytest.approx(churn)
        assert over_steps["saturation"][0] < over_steps["saturation"][-1] == 1


def test_recording_changes_nothing_else(trained, tmp_path):
    train(tmp_path / "plain", *SETTINGS)
    assert_same(
        checkpoint_of(tmp_path / "plain")["state_dict"], checkpoint_of(trained)["state_dict"], ""
    )
    with_routes, plain = untimed(result_of(trained)), untimed(result_of(tmp_path / "plain"))
    for layer in with_routes["layers"]:
        del layer["routes"]
    assert with_routes == plain


def test_a_resumed_run_leaves_the_same_tables(trained, tmp_path):
    """The table at the end of a training that was continued later is not one of them."""
    cut = tmp_path / "cut"
    with signal_at(2):
        assert main([*TINY, NARROW, f"out={cut}", RECORD, *SETTINGS]) == 130
    assert [*tables(cut)] == ["step-0", "step-2"]
    shutil.copy(cut / "routes" / "step-2.parquet", cut / "routes" / "step-3.parquet")
    assert main([f"resume={cut}"]) == 0
    assert [*tables(cut)] == [*tables(trained)]
    for left, right in zip(tables(cut).values(), tables(trained).values(), strict=True):
        assert_same_tables(left, right)
    assert result_of(cut)["layers"] == result_of(trained)["layers"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{every: 0, items: 2}", "trainer.record_routes.every=0 is invalid: expected an integer"),
        ("{every: 1, items: 999}", "record_routes.items=999 is invalid: expected an integer in [1"),
        ("{every: 1}", "trainer.record_routes.items: required"),
        ("{evry: 1, items: 2}", "trainer.record_routes.evry: unknown; did you mean 'every'"),
    ],
)
def test_options_that_cannot_work(options, words, capsys):
    assert main(["--cfg", *TINY, f"trainer.record_routes={options}"]) == 2
    assert words in capsys.readouterr().err


# ---- the command ----


def test_the_table_is_what_the_network_routes(trained, routes):
    table, run = RouteTable.read(routes / "routes.parquet"), tasks.load(trained)
    for layer, routings in zip(
        table.layers, routed_one_by_one(run, run.data.test, 64), strict=True
    ):
        assert kept_experts(layer) == experts_by_item(routings)
        assert layer.identity["class"].tolist() == run.data.test["y"].repeat_interleave(16).tolist()
        assert layer.identity["patch"].tolist() == layer.position.tolist()
        assert layer.router == "TopK"
    assert table.labels["class"] == tuple("0123456789")
    about = table.about
    assert (about["split"], about["samples"], about["step"]) == ("test", 360, 5)
    assert about["data_sha256"] == run.data.sha256
    assert [layer.name for layer in table.layers] == [*experts_names(run)]


def experts_names(run):
    with experts.record(run.module.backbone) as found:
        return found


def test_measures_are_those_of_the_result(trained, routes):
    """Load, drops, co-activation and NMI of the same split, by another path."""
    measures = json.loads((routes / "measures.json").read_text())
    for layer, known in zip(measures["layers"], result_of(trained)["layers"], strict=True):
        assert layer["load"] == known["load"]
        for name in ("dropped", "unrouted", "coactivation"):
            assert layer[name] == pytest.approx(known[name], abs=1e-9), name
        of_class = layer["specialization"]["class"]
        assert of_class["nmi"] == pytest.approx(known["nmi"]["class"], abs=1e-9)
        assert of_class["low"] <= of_class["chance"] <= of_class["high"]
        assert {"class", "patch"} == layer["specialization"].keys()  # the position is the patch
        assert 0 <= layer["sensitivity"]["0.01"] < layer["sensitivity"]["0.1"] < 1


def test_a_run_and_itself_do_not_disagree(routes):
    for layer in json.loads((routes / "measures.json").read_text())["layers"]:
        found = layer["against"]
        assert (found["share"], found["agreement"], found["churn"]) == (0, 1, 0)
        assert found["match"] == list(range(8))
        assert found["chance"] > 0.3


def test_the_page_needs_nothing_else(routes):
    text = (routes / "page.html").read_text()
    page = Page(text)
    assert "Routes of run" in page.shown()
    assert len([a for a in page.named("svg") if a["class"] == "image"]) == 2 * 12
    assert len(page.named("rect")) == 2 * 12 * 16
    assert all(each["href"].startswith("data:") for each in page.named("image"))
    assert not page.named("script")
    assert "://" not in text
    assert "prefers-color-scheme:dark" in text


def test_another_checkpoint_split_and_number_of_samples(trained, tmp_path, capsys):
    out = tmp_path / "routes"
    words = ["data=val", "items=3", "checkpoint=best", "router.k=3", f"out={out}"]
    assert main(["routes", str(trained), *words]) == 0
    table = RouteTable.read(out / "routes.parquet")
    assert {len(each) for each in table.layers} == {3 * 16}
    assert (table.about["split"], table.about["checkpoint"]) == ("val", "best")
    assert table.layers[0].routes.experts.shape == (3 * 16 * 3,)
    printed = capsys.readouterr().out
    assert "NMI class" in printed
    assert "Routes of 3 samples, 48 items in 2 layers are in" in printed


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["data=tets"], "data=tets: unknown; did you mean 'test'?"),
        (["items=0"], "items=0 is invalid: expected an integer >= 1"),
        (["against=nowhere"], "nowhere: no run is there"),
        (["checkpoint=bst"], "checkpoint=bst: unknown; did you mean 'best'?"),
        (["optimizer.lr=1"], "has no effect on a trained run"),
        ([], "exists already; give out=FOLDER, or remove it"),
    ],
)
def test_what_cannot_work(trained, routes, words, error, capsys):
    out = [f"out={trained / 'other'}"] if words else []
    assert main(["routes", str(trained), *words, *out]) == 2
    assert not (trained / "other").exists()
    assert error in capsys.readouterr().err


# ---- other tasks, without a training ----


def collected(*settings):
    run = Run(compose([*settings]))
    found = run.collect_routes("test", 30)
    return run, found, found.collection.table({})


def test_bytes_of_texts_without_padding(tmp_path):
    task = "text_classification"
    settings = [f"task={task}", "task.model=encoder", *tiny(task)[1:], "task.model.dim=16"]
    run, _, table = collected(*settings, NARROW, *texts(tmp_path))
    layer, test = table.layers[0], run.data.test
    rows = min(30, len(test["y"]))
    for sample in range(rows):
        own = layer.sample == sample
        written = bytes(test["x"][sample, : test["length"][sample]].tolist())
        assert bytes(layer.identity["byte_value"][own].tolist()) == written
        assert layer.position[own].tolist() == [*range(len(written))]
        for column, name in (("class", "y"), ("language", "task")):
            assert set(layer.identity[column][own].tolist()) == {int(test[name][sample])}
    picture = run.task.pictures(run.task.collate({n: v[:1] for n, v in test.items()}))[0]
    shown = Page(picture.html([[0]] * int(test["length"][0]))).shown()
    assert shown == bytes(test["x"][0, : test["length"][0]].tolist()).decode()


def test_bytes_of_a_language_model(tmp_path):
    task = "language_model"
    settings = [f"task={task}", "task.length=24", "task.context=8", *tiny(task)]
    run, _, table = collected(*settings, NARROW, *corpus(tmp_path))
    layer = table.layers[-1]
    assert layer.identity["byte_value"].tolist() == run.data.test["x"][:30].flatten().tolist()
    kind = build("topics").kinds()[0]
    assert table.labels["byte"] == kind.names
    assert (
        layer.identity["byte"].tolist()
        == kind.of({"x": run.data.test["x"][:30]}).flatten().tolist()
    )


@pytest.mark.parametrize("router", ["topk", "soft_moe"])
def test_several_gates(router, tmp_path):
    settings = ["task=char_properties", "task.dim=16", "trainer.accelerator=cpu", NARROW]
    _, found, table = collected(*settings, f"router={router}")
    (layer,) = table.layers
    assert layer.num_gates == 3
    assert layer.sample.tolist() == [*range(30)]
    assert set(layer.position.tolist()) == {0}
    assert {"category", "bidirectional", "width"} <= layer.identity.keys()
    assert 0 <= found.sensitivity[layer.name]["0.1"] <= 1
    table.write(tmp_path / "routes.parquet")
    assert_same_tables(RouteTable.read(tmp_path / "routes.parquet"), table)
