"""What a suite says about its arms: numbers by hand, marks, gaps, and sentences."""

import csv
import json
from itertools import product
from math import exp, log
from statistics import fmean

import pytest

from sweeps.results.ranking import standings, verdicts_of
from sweeps.results.suite_answer import answer, caveats
from sweeps.results.suite_comparison import SuiteComparison, comparison_of
from sweeps.results.suite_costs import costs_of
from sweeps.results.suite_dir import read_suite
from sweeps.results.suite_leaderboard import write_suite_tables
from sweeps.results.suite_marks import mark_in, mark_over
from sweeps.results.suite_merge import read_suites
from sweeps.statistics import Word

from ..suites import ROUTERS, write_suite_folder

DENSE = "dense, parameters of topk"
SEEDS = (1000, 1001, 1002)


def compared(folder) -> SuiteComparison:
    return comparison_of(read_suite(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_suite_folder(tmp_path_factory.mktemp("suites") / "full")


@pytest.fixture(scope="module")
def comparison(folder):
    return compared(folder)


def numbers(folder, benchmark, slug, *path):
    """A number in the results of an arm, by seed."""
    found = []
    for seed in SEEDS:
        value = json.loads(
            (folder / benchmark / "confirmed" / slug / f"seed-{seed}" / "result.json").read_text()
        )
        for key in path:
            value = value[key]
        found.append(value)
    return found


def test_normalized_scores_by_hand(folder, comparison):
    expected = []
    for name in ("words", "pairs", "clusters"):
        topk, zero, one = (
            fmean(numbers(folder, name, slug, "score", "value"))
            for slug in ("topk", "random_fixed", "dense-parameters-of-topk")
        )
        expected.append((topk - zero) / (one - zero))
    assert comparison.benchmarks == ("words", "pairs", "clusters")  # images separate nothing
    assert comparison.means["topk"] == pytest.approx(fmean(expected))
    assert comparison.means["random_fixed"] == pytest.approx(0, abs=1e-9)
    assert comparison.means[DENSE] == pytest.approx(1)
    assert comparison.order[:3] == (DENSE, "expert_choice", "topk")
    assert comparison.routers == ("topk", "expert_choice", "hash")
    assert comparison.blind == ("random_fixed", "uniform")


def test_improvement_by_hand(folder, comparison):
    """Over all benchmarks, as it needs no common scale."""
    shares = []
    for name in ("images", "words", "pairs", "clusters"):
        ours, others = (
            numbers(folder, name, s, "score", "value") for s in ("topk", "random_fixed")
        )
        shares.append(fmean(a > b for a, b in product(ours, others)))
    assert comparison.improvement["topk"].value == pytest.approx(fmean(shares))
    assert "random_fixed" not in comparison.improvement


def test_costs_by_hand(folder, comparison):
    costs = {cost.metric.metric: cost for cost in costs_of(comparison)}
    names = [each.name for each in comparison.suite.benchmarks]
    flops = costs["compute.flops_per_item"]
    ratios = [
        log(ours / dense)
        for name in names
        for ours, dense in zip(
            numbers(folder, name, "hash", "compute", "flops_per_item"),
            numbers(folder, name, "dense-parameters-of-topk", "compute", "flops_per_item"),
            strict=True,
        )
    ]
    assert flops.reference == DENSE
    assert flops.arms["hash"].value == pytest.approx(exp(fmean(ratios)))
    assert flops.arms[DENSE].value == pytest.approx(1)
    assert flops.ranks.ranks["topk"] == 1
    memory = costs["compute.peak_memory_bytes"]
    assert memory.arms["hash"].value == pytest.approx(exp(fmean(ratios)))
    assert not {"compute.cpu_energy_joules", "compute.step_seconds"} & costs.keys()  # unknown
    load = costs["load.max_violation"]
    expected = [v for name in names for v in numbers(folder, name, "topk", "load", "max_violation")]
    assert load.arms["topk"].value == pytest.approx(fmean(expected))
    assert DENSE not in load.arms  # it has no experts
    assert load.reference is None
    assert costs["load.dead_share"].arms["topk"].value == 0


def test_the_answer_names_leader_controls_and_where_routing_matters(comparison):
    which, where = answer(comparison)
    assert which.startswith("Over words, pairs and clusters, expert_choice is the best router")
    assert "it is better than topk and hash, but worse than the control dense" in which
    assert "words (2 of 3 routers), pairs (3 of 3 routers) and clusters (2 of 3" in where
    assert where.endswith("it is not shown to matter in images.")
    assert caveats(comparison) == [
        "images has no part in aggregates: no arm exceeds random_fixed by more than noise."
    ]


def test_the_answer_agrees_with_the_marks(comparison):
    """A router counts where it is better than both controls with one correction over all."""
    for name, count in {"words": 2, "pairs": 3, "clusters": 2, "images": 0}.items():
        better = [
            label
            for label in comparison.routers
            if all(
                comparison.word_in(name, label, blind) == (Word.BETTER, True)
                for blind in comparison.blind
            )
        ]
        assert len(better) == count
        assert all(mark_in(comparison, name, label) == "▲" for label in better)
    assert mark_in(comparison, "clusters", "uniform") == "△"
    assert mark_in(comparison, "images", "topk") == "·"
    assert mark_in(comparison, "words", "random_fixed") == ""
    assert mark_over(comparison, "topk") == "▲"
    turned = comparison.word_in("words", "random_fixed", "topk")
    assert turned == (Word.WORSE, True)


def test_routers_that_do_not_differ(tmp_path):
    alike = [(f"r{i}", [f"router=r{i}"], False, 0.5) for i in range(7)]
    folder = write_suite_folder(tmp_path / "s", arms=[*alike, *ROUTERS[3:5]], noise=0.03)
    which, where = answer(compared(folder))
    assert "it is not distinguishable from all 6 other routers" in which
    assert "of 7 routers" in where


def test_nothing_exceeds_the_control(tmp_path):
    folder = write_suite_folder(tmp_path / "s", spread={"images": 0.0, "words": 0.0})
    which, where = answer(compared(folder))
    assert which.startswith("No arm exceeds random_fixed by more than noise in any benchmark")
    assert where.startswith("Routing is not shown to matter in images and words, where no router")


def test_a_gap_is_marked_and_its_arm_not_ranked(tmp_path):
    folder = write_suite_folder(tmp_path / "s", gaps={("words", "hash"): "needs\n| a task"})
    comparison = compared(folder)
    assert comparison.gaps == [("words", "hash", "needs\n| a task")]
    assert "hash" not in comparison.means
    assert not comparison.iqm["hash"].complete
    assert comparison.iqm["hash"].benchmarks == ("pairs", "clusters")
    assert "hash" not in comparison.ranks.ranks
    assert mark_in(comparison, "pairs", "hash") == "▲"
    assert "hash has no complete results in words" in " ".join(caveats(comparison))
    table = write_suite_tables(comparison, costs_of(comparison), folder)
    assert "\N{EN DASH} words, hash: needs | a task" in table
    with (folder / "suite.csv").open(newline="") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert rows["hash"]["words:score"] == rows["hash"]["mean_normalized"] == ""
    assert rows["hash"]["words:gap"].startswith("needs")
    assert rows["topk"]["words:verdict"] == "better"
    assert r"needs \| a task" in (folder / "suite.md").read_text()
    assert r"needs \textbar{} a task" in (folder / "suite.tex").read_text()
    assert "▲" not in (folder / "suite.tex").read_text()


def test_caveats_are_grouped(tmp_path):
    gaps = {("words", label): "none" for label, *_ in ROUTERS[:5]}
    spread = {"images": 0.0, "words": 0.3, "pairs": 0.2}
    comparison = compared(write_suite_folder(tmp_path / "s", spread=spread, gaps=gaps))
    assert caveats(comparison) == [
        "images has no part in aggregates: no arm exceeds random_fixed by more than noise.",
        "words has no part in aggregates: it has no results of random_fixed.",
    ]
    gaps = {("words", label): "none" for label, *_ in ROUTERS[:3]}
    comparison = compared(write_suite_folder(tmp_path / "t", spread=spread, gaps=gaps))
    assert caveats(comparison)[-1].startswith("topk, expert_choice and hash have no complete")


def test_a_missing_run_is_a_gap(tmp_path):
    folder = write_suite_folder(tmp_path / "s")
    (folder / "pairs" / "confirmed" / "topk" / "seed-1001" / "result.json").unlink()
    assert compared(folder).gaps == [("pairs", "topk", "seeds 1001 are missing")]


def test_a_benchmark_that_has_not_run(tmp_path):
    folder = write_suite_folder(tmp_path / "s")
    for path in (folder / "pairs").rglob("result.json"):
        path.unlink()
    comparison = compared(folder)
    assert comparison.benchmarks == ("words", "clusters")
    assert comparison.ranks is None  # no arm is complete everywhere
    assert "pairs cannot tell" in answer(comparison)[1]
    costs = {cost.metric.metric: cost for cost in costs_of(comparison)}
    assert costs["compute.flops_per_item"].arms["topk"].complete


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_give_no_verdicts(tmp_path, seeds):
    folder = write_suite_folder(tmp_path / "s", seeds=seeds)
    comparison = compared(folder)
    assert (comparison.verdicts, comparison.ranks, comparison.means) == (None, None, {})
    which, where = answer(comparison)
    assert which == f"There are no verdicts: they need 3 seeds, and the suite has {seeds}."
    assert "words: dense, parameters of topk" in where
    assert "▲" not in write_suite_tables(comparison, costs_of(comparison), folder)


def test_without_a_control_there_is_no_common_scale(tmp_path):
    blind = {"random_fixed", "uniform"}
    folder = write_suite_folder(tmp_path / "s", arms=[a for a in ROUTERS if a[0] not in blind])
    comparison = compared(folder)
    assert (comparison.control, comparison.means, comparison.improvement) == (None, {}, {})
    which, where = answer(comparison)
    assert which.startswith("The suite has neither random_fixed nor uniform")
    assert where.startswith("Where routing matters is not known")
    assert comparison.verdicts.benchmarks["words"].verdicts.of("topk", "hash").word is Word.BETTER


def test_with_one_control_it_is_the_zero(tmp_path):
    folder = write_suite_folder(tmp_path / "s", arms=[a for a in ROUTERS if a[0] != "random_fixed"])
    comparison = compared(folder)
    assert comparison.control == "uniform"
    assert "are better than uniform after" in answer(comparison)[1]


def test_two_suites_are_compared_as_one(tmp_path):
    one = write_suite_folder(tmp_path / "one")
    others = [("sigmoid", ["router=sigmoid"], False, 0.6), *ROUTERS[3:]]
    two = write_suite_folder(tmp_path / "two", arms=others)
    comparison = comparison_of(read_suites([one, two]))
    assert {"topk", "sigmoid"} <= comparison.means.keys()
    assert comparison.gaps == []


def test_tables_are_the_same_twice(folder, tmp_path):
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        found = compared(folder)
        write_suite_tables(found, costs_of(found), tmp_path / name)
        texts.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert texts[0] == texts[1]
    assert len(texts[0]) == 3


def test_a_rule_for_seeds_is_followed_by_verdicts(tmp_path):
    """Aggregates use the seeds that all arms have; pairs without a verdict have more."""
    rule = {"first": 3, "step": 1, "most": 5}
    spread = {"images": 0.0, "clusters": 0.4}
    comparison = comparison_of(
        read_suite(write_suite_folder(tmp_path / "suite", seeds=5, spread=spread, rule=rule))
    )
    assert comparison.seeds == (1000, 1001, 1002)
    looks = {name: each.seeds.values() for name, each in comparison.verdicts.benchmarks.items()}
    assert max(looks["images"]) == 5
    assert min(looks["clusters"]) == 3
    for each in comparison.suite.benchmarks:  # as a sweep by itself
        found = comparison.verdicts_in(each.name)
        assert found.groups == verdicts_of(each.sweep).groups
        assert [row.says for row in standings(each.sweep, found)] == [
            row.says for row in standings(each.sweep)
        ]
