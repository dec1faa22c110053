"""The command ``probe``: effects against networks without an expert, and known truths."""

import csv
import json
from copy import deepcopy

import pytest
import torch

import tasks
from experts import MoE
from tasks import main

from ...sweeps.pages import Page
from ..cases import result_of, train, train_any
from ..own_data import corpus

#: Planted clusters, found in a second.
PLANTED = (
    *("task=planted", "task.separation=3", "trainer.max_steps=-1", "trainer.max_epochs=4"),
    *("task.depth=1", "trainer.batch_size=256", "router.k=1", "router.weighting=probability"),
)

ITEMS = 64
ONE = ("router.k=1", "router.weighting=probability")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    train(out, "trainer.max_steps=40", "trainer.max_epochs=5", "optimizer.lr=0.01")
    return out


@pytest.fixture(scope="module")
def probed(trained):
    """The values that the command writes."""
    words = [
        "shapley=4",
        f"items={ITEMS}",
        "mask={class: {3: [0, 2]}}",
        f"alternatives=[{' '.join(ONE)}]",
    ]
    assert main(["probe", str(trained), *words]) == 0
    return json.loads((trained / "probe" / "test-last" / "probe.json").read_text())


def right(run, changed=lambda backbone: None):
    """Whether each test sample is classified right, and its label, after a change of weights."""
    backbone = deepcopy(run.module.backbone).eval()
    test = {name: values[:ITEMS] for name, values in run.data.test.items()}
    with torch.no_grad():
        changed(backbone)
        output = backbone(run.module.prepare_batch(test))[0]
    return output.argmax(1) == test["y"], test["y"]


def layers_of(backbone):
    return [module for module in backbone.modules() if isinstance(module, MoE)]


def without(layer, experts):
    """The change that leaves experts an output of zero."""

    def change(backbone):
        for expert in experts:
            for values in layers_of(backbone)[layer].bank.parameters_of(expert):
                values.zero_()

    return change


def effects(layer, change):
    return [each for each in layer["changes"] if each["change"] == change]


def test_effects_are_those_of_a_network_without_the_expert(trained, probed):
    run = tasks.load(trained)
    whole, y = right(run)
    assert probed["measure"] == "accuracy"
    assert probed["score"]["value"] == pytest.approx(float(whole.double().mean()))
    for number, layer in enumerate(probed["layers"]):
        assert sum(layer["load"]) == pytest.approx(1)
        dropped = effects(layer, "drop")
        assert [each["experts"] for each in dropped] == [[expert] for expert in range(8)]
        for expert, change in enumerate(dropped):
            lost = whole.double() - right(run, without(number, [expert]))[0].double()
            mean, low, high = change["effects"]["accuracy"]["all"]
            assert mean == pytest.approx(float(lost.mean()))
            assert low <= mean <= high
            by_class = [float(lost[y == label].mean()) for label in range(10)]
            assert layer["needed_for"]["class"][expert] == pytest.approx(by_class)
        others = {name: effects(layer, name) for name in ("mean", "reroute", "drop_top", "random")}
        assert [*map(len, others.values())] == [8, 8, 1, 1]
        lost = [each["effects"]["loss"]["all"][0] for each in dropped]
        means = [each["effects"]["loss"]["all"][0] for each in others["mean"]]
        assert not any(a == pytest.approx(b, abs=1e-9) for a, b in zip(lost, means, strict=True))
        assert layer["refused"] == {}


def test_what_experts_work_on_is_the_table_of_the_run(trained, tmp_path):
    """On the whole split the score and the table are those that the run wrote."""
    out = tmp_path / "probe"
    assert main(["probe", str(trained), "interventions=[]", "shapley=0", f"out={out}"]) == 0
    values = json.loads((out / "probe.json").read_text())
    assert values["score"]["value"] == pytest.approx(result_of(trained)["score"]["value"])
    with (trained / "confusion.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] == "0"]
    found = values["layers"][0]["works_on"]["class"]
    for expert in range(8):
        own = {row["kind"]: float(row["rows"]) for row in rows if row["expert"] == str(expert)}
        total = sum(own.values())
        assert found[expert] == pytest.approx([own[str(label)] / total for label in range(10)])


def test_shapley_values_sum_to_the_effect_of_all_experts(trained, probed):
    run = tasks.load(trained)
    for number, layer in enumerate(probed["layers"]):
        shapley = layer["shapley"]
        none = float(right(run, without(number, range(8)))[0].double().mean())
        assert shapley["none"] == pytest.approx(none)
        assert shapley["all"] == pytest.approx(probed["score"]["value"])
        assert sum(shapley["values"]) == pytest.approx(shapley["all"] - none)
        assert all(low <= high for low, high in zip(shapley["low"], shapley["high"], strict=True))


def test_a_mask_is_for_the_items_of_its_label_alone(trained, probed):
    run = tasks.load(trained)
    whole, y = right(run)
    for number, layer in enumerate(probed["layers"]):
        (mask,) = effects(layer, "mask")
        assert (mask["label"], mask["experts"]) == ("class=3", [0, 2])
        lost = whole.double() - right(run, without(number, [0, 2]))[0].double()
        by_class = [float(lost[y == label].mean()) if label == 3 else 0.0 for label in range(10)]
        means = [mean for mean, _, _ in mask["effects"]["accuracy"]["class"]]
        assert means == pytest.approx(by_class)


def test_alternatives_are_the_run_under_other_settings(trained, probed):
    (found,) = probed["alternatives"]
    assert (found["settings"], found["untrained"]) == (" ".join(ONE), [])
    assert found["rows"] == pytest.approx(16 * 2)  # patches and layers
    lost = [right(tasks.load(trained, *words))[0].double().mean() for words in ((), ONE)]
    assert found["effects"]["accuracy"]["all"][0] == pytest.approx(float(lost[0] - lost[1]))


def test_the_table_of_effects_has_all_of_them(trained, probed):
    with (trained / "probe" / "test-last" / "effects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    changes = [each for layer in probed["layers"] for each in layer["changes"]]
    assert len(rows) == (len(changes) + 1) * 2 * 11  # loss and accuracy; all and ten classes
    of_loss = [row for row in rows if (row["measure"], row["on"]) == ("loss", "class=3")]
    wanted = [each["effects"]["loss"]["class"][3][0] for each in changes]
    assert [float(row["effect"]) for row in of_loss][:-1] == pytest.approx(wanted)


def test_the_page_shows_both_matrices(trained, probed):
    text = (trained / "probe" / "test-last" / "page.html").read_text()
    page = Page(text)
    assert "Experts of run" in page.shown()
    cells = [each for each in page.named("td") if each.get("class") == "cell"]
    assert len(cells) == 2 * 2 * 8 * 10  # layers, matrices, experts, classes
    assert not page.named("script")
    assert "://" not in text
    assert "prefers-color-scheme:dark" in text


def test_on_planted_clusters_experts_are_needed_for_their_own(tmp_path, capsys):
    """The truth is known: an expert hurts its clusters and no other."""
    found = {}
    for router in ("topk", "random_fixed"):
        run = tmp_path / router
        own = PLANTED[-1:] if router == "topk" else ["trainer.max_epochs=1"]
        train_any(run, *PLANTED[:-1], f"router={router}", "router.k=1", *own)
        words = ["shapley=2", "interventions=[drop]", "items=1024"]
        assert main(["probe", str(run), *words]) == 0
        (layer,) = json.loads((run / "probe/test-last/probe.json").read_text())["layers"]
        found[router] = layer
    assert found["topk"]["matched"]["cluster"] >= 0.9
    assert (found["random_fixed"]["matched"]["cluster"] or 0) < 0.5
    # one expert per item: nothing but the expert itself depends on it
    dropped = [each["effects"]["accuracy"]["all"][0] for each in effects(found["topk"], "drop")]
    assert found["topk"]["shapley"]["values"] == pytest.approx(dropped)
    assert "needed for" in capsys.readouterr().out


def test_another_router_takes_over_the_gate(trained, tmp_path, capsys):
    out = tmp_path / "probe"
    words = ["interventions=[]", "shapley=0", "items=20", "layers=1", "data=val", f"out={out}"]
    words.append("alternatives=[router=sigmoid, moe.capacity=0.5]")
    assert main(["probe", str(trained), *words, "checkpoint=best"]) == 0
    values = json.loads((out / "probe.json").read_text())
    assert (values["split"], values["samples"], values["checkpoint"]) == ("val", 20, "best")
    (layer,) = values["layers"]
    assert (layer["layer"], layer["changes"], layer["shapley"]) == (1, [], None)
    sigmoid, capacity = values["alternatives"]
    assert all(name.endswith("router.bias.value") for name in sigmoid["untrained"])
    assert capacity["untrained"] == []
    assert capacity["rows"] < layer["rows"]
    printed = capsys.readouterr().out
    assert "Effects on 20 samples are in" in printed
    assert "untrained" in printed


def test_what_a_router_cannot_do_is_left_out_or_refused(tmp_path, capsys):
    run = tmp_path / "run"
    train(run, "router=soft_moe", "trainer.max_steps=2")
    short = ["shapley=0", "items=8", "layers=0"]
    assert main(["probe", str(run), "interventions=[random]", *short]) == 2
    assert "random: impossible in layer" in capsys.readouterr().err
    assert not (run / "probe").exists()
    assert main(["probe", str(run), *short]) == 0
    for layer in json.loads((run / "probe/test-last/probe.json").read_text())["layers"]:
        assert "gives every item all experts" in layer["refused"]["random"]
        assert effects(layer, "drop")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["data=tets"], "data=tets: unknown; did you mean 'test'?"),
        (["items=0"], "items=0 is invalid: expected an integer >= 1"),
        (["layers=2"], "layers=2: 2 selects no layer; the network has 2 routed layers, 0 to 1"),
        (["interventions=[drpo]"], "interventions=drpo: unknown; did you mean 'drop'?"),
        (["interventions=3"], "interventions=3 is invalid: expected a list such as [drop"),
        (["shapley=3"], "shapley=3 is invalid: expected an even number of permutations"),
        (["mask=clas"], "mask=clas: unknown; did you mean 'class'?"),
        (["mask={class: {x: [0]}}"], "mask.class=x: unknown"),
        (["mask={class: {3: [8]}}"], "mask.class.3=[8] is invalid: expected a list of experts in"),
        (["mask=[1]"], "mask=[1] is invalid: expected a labeling such as class"),
        (["alternatives=[router.k=9]"], "router.k=9 is invalid: expected an integer in [1, num"),
        (["alternatives=[router=hierarchical]"], "choose a router with the same gate"),
        (["alternatives=[moe.num_experts=4]"], "change only settings that keep the shapes"),
        (["alternatives=[seed=1]"], "alternatives=seed=1 is invalid: expected settings of router"),
        (['alternatives=["router.k=\'1"]'], "expected settings with closed quotes"),
        (["alternatives=['']"], "expected one or more settings such as router.k=1"),
        (["alternatives=[moe.expert_dropout=0.5]"], "a setting that has an effect after training"),
        (["alternatives=2"], "alternatives=2 is invalid: expected a list such as [router.k=1"),
        ([], "exists already; give out=FOLDER, or remove it"),
    ],
)
def test_what_cannot_work(trained, probed, words, error, capsys):
    out = [f"out={trained / 'other'}"] if words else []
    assert main(["probe", str(trained), *words, *out]) == 2
    assert not (trained / "other").exists()
    assert error in capsys.readouterr().err


def test_no_mask_of_merged_experts(tmp_path, capsys):
    train(tmp_path / "run", "router=merged", "trainer.max_steps=2")
    assert main(["probe", str(tmp_path / "run"), "mask=class", "items=8"]) == 2
    assert "mask: impossible in layer" in capsys.readouterr().err


def test_labels_of_bytes_say_what_experts_work_on(tmp_path):
    """A mean over bytes is no mean over windows, so that effects are those on the loss."""
    run = tmp_path / "run"
    short = ("task.length=24", "task.context=8", "trainer.max_steps=2")
    train(run, "task=language_model", *short, *corpus(tmp_path))
    words = ["items=16", "shapley=0", "interventions=[drop]", "layers=0", "mask=byte"]
    assert main(["probe", str(run), *words]) == 0
    values = json.loads((run / "probe/test-last/probe.json").read_text())
    (layer,), names = values["layers"], values["labels"]["byte"]
    assert (values["measure"], layer["needed_for"]) == ("loss", {})
    assert len(effects(layer, "mask")) == 2  # letters and spaces
    for mask in effects(layer, "mask"):  # 24 bytes with two experts each
        (expert,), label = mask["experts"], names.index(mask["label"].removeprefix("byte="))
        own = 48 * layer["load"][expert] * layer["works_on"]["byte"][expert][label]
        assert layer["rows"] - mask["rows"] == pytest.approx(own)


def test_a_dense_run(tmp_path, capsys):
    train(tmp_path / "run", "moe.control=iso_flop", "trainer.max_steps=2")
    assert main(["probe", str(tmp_path / "run")]) == 2
    assert "a layer with a single expert has no experts to compare" in capsys.readouterr().err
