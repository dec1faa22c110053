"""Leaderboard: order, verdicts and tables."""

import csv
import json
import math
import shutil
from pathlib import Path

import pytest

from sweeps.results.leaderboard import write_leaderboard, write_tables
from sweeps.results.ranking import standings, verdicts_of
from sweeps.results.sweep_dir import read_sweep, read_sweeps

from ..folders import ARMS, FakeArm, add_best, write_sweep

FIVE = (
    FakeArm("topk", (0.961, 0.958, 0.967, 0.960, 0.963)),
    FakeArm("hash", (0.930, 0.932, 0.935, 0.929, 0.934)),
    FakeArm("random_fixed", (0.903, 0.911, 0.899, 0.905, 0.9), control=True),
)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_comes_first_and_verdicts_are_against_it(tmp_path):
    found = standings(read_sweep(write_sweep(tmp_path / "s", FIVE, confirm_seeds=5)))
    assert [(row.rank, row.arm.label, row.says, row.group) for row in found] == [
        (1, "topk", "best", "a"),
        (2, "hash", "worse", "b"),
        (3, "random_fixed", "worse", "c"),
    ]
    assert found[0].mean == pytest.approx(0.9618)
    assert found[2].improvement == 0.0


def test_a_leader_that_others_may_equal_only_leads(tmp_path):
    found = standings(read_sweep(write_sweep(tmp_path / "s")))
    assert [(row.arm.label, row.says) for row in found] == [
        ("expert_choice", "leads"),
        ("topk", "not distinguishable"),
        ("dense, equal FLOPs", "not distinguishable"),
        ("random_fixed", "worse"),
    ]


def test_where_less_is_better_the_least_comes_first(tmp_path):
    loss = [{"metric": "scores.loss", "direction": "minimize"}]
    folder = write_sweep(tmp_path / "s", FIVE, objectives=loss, confirm_seeds=5)
    found = standings(read_sweep(folder))
    assert [row.arm.label for row in found] == ["topk", "hash", "random_fixed"]
    assert found[0].mean < found[1].mean
    assert [row.says for row in found] == ["best", "worse", "worse"]
    assert found[1].verdict.pair.difference > 0  # in units of the loss
    assert found[2].improvement == 0.0


def test_arms_with_missing_runs_come_last_and_are_marked(tmp_path):
    folder = write_sweep(tmp_path / "s", [*FIVE, FakeArm("soft_moe", (0.99, None, 0.98))])
    shutil.rmtree(folder / "confirmed" / "hash")
    found = standings(read_sweep(folder))
    assert [(row.rank, row.arm.label) for row in found[:2]] == [(1, "topk"), (2, "random_fixed")]
    assert {row.arm.label: (row.rank, row.says) for row in found[2:]} == {
        "soft_moe": (None, "too few seeds"),
        "hash": (None, "too few seeds"),
    }
    assert "soft\\_moe" in _markdown(folder)
    assert "2 of 3" in _markdown(folder)


def _markdown(folder: Path) -> str:
    write_leaderboard(folder)
    return (folder / "leaderboard.md").read_text()


def test_a_score_that_is_no_number_makes_an_arm_incomplete(tmp_path):
    folder = write_sweep(tmp_path / "s", FIVE, confirm_seeds=5)
    path = folder / "confirmed" / "topk" / "seed-1000" / "result.json"
    result = json.loads(path.read_text())
    result["score"]["value"] = None
    path.write_text(json.dumps(result))
    assert [row.arm.label for row in standings(read_sweep(folder))] == [
        "hash",
        "random_fixed",
        "topk",
    ]


def test_a_sweep_without_a_finished_run(tmp_path):
    folder = write_sweep(tmp_path / "s", [FakeArm("topk", (None, None)), FakeArm("hash", ())])
    assert "topk" in write_leaderboard(folder)
    assert [row["seeds"] for row in rows_of(folder)] == ["0", "0"]
    assert "No verdicts" in (folder / "leaderboard.md").read_text()


def test_one_seed_gives_no_interval_and_no_verdict(tmp_path):
    folder = write_sweep(
        tmp_path / "s", [FakeArm("topk", (0.9,)), FakeArm("hash", (0.8,))], confirm_seeds=1
    )
    found = standings(read_sweep(folder))
    assert [(row.rank, row.says) for row in found] == [(1, "too few seeds"), (2, "too few seeds")]
    assert math.isnan(found[0].interval.low)
    assert "0.9000 " in write_leaderboard(folder)


def test_the_score_of_the_best_validation_stands_beside(tmp_path):
    """Ranks and verdicts are those of the last weights; results of older versions have no other."""
    folder = write_sweep(tmp_path / "s", FIVE, confirm_seeds=5)
    without = _markdown(folder)
    assert "best val" not in without
    assert [row["score.best.value"] for row in rows_of(folder)] == [""] * 3
    before = standings(read_sweep(folder))
    add_best(folder)
    lines = [line.split(" | ") for line in _markdown(folder).splitlines() if line.startswith("| ")]
    assert [line[3] for line in lines] == ["best val", "---:", "0.0382", "0.0680", "0.0964"]
    rest = [" | ".join([*line[:3], *line[4:]]) for line in lines]
    assert rest == [line for line in without.splitlines() if line.startswith("| ")]
    after = standings(read_sweep(folder))
    assert [(row.arm.label, row.says, row.group) for row in after] == [
        (row.arm.label, row.says, row.group) for row in before
    ]
    assert float(rows_of(folder)[0]["score.best.value"]) == pytest.approx(0.0382)


def test_csv_holds_every_number_in_full(tmp_path):
    folder = write_sweep(tmp_path / "s", FIVE, confirm_seeds=5)
    write_leaderboard(folder)
    sweep = read_sweep(folder)
    for row, standing in zip(rows_of(folder), standings(sweep), strict=True):
        assert float(row["score.value"]) == standing.mean
        assert float(row["low"]) == standing.interval.low
        assert float(row["compute.flops_per_item"]) == 3_343_616.0
        assert row["command"] == standing.arm.command
        verdict = verdicts_of(sweep).of(standing.arm.label, "topk")
        assert row["p_holm"] == ("" if verdict.p is None else str(verdict.p))


def test_arms_that_tune_other_keys_share_a_table(tmp_path):
    arms = [
        FakeArm("topk", params=(("router.k", 4),)),
        FakeArm("hash", params=(("optimizer.lr", 0.1),)),
    ]
    folder = write_sweep(tmp_path / "s", arms)
    write_leaderboard(folder)
    params = {
        row["arm"]: (row["param:router.k"], row["param:optimizer.lr"]) for row in rows_of(folder)
    }
    assert params == {"topk": ("4", ""), "hash": ("", "0.1")}


def test_latex_names_no_folder(tmp_path):
    """The sources of papers are published, comments included."""
    folders = [write_sweep(tmp_path / name / "s", ARMS[:2]) for name in ("one", "two")]
    for path in tmp_path.glob("*/s/confirmed/*/arm.json"):
        path.write_text(path.read_text().replace("task=digits", f"task.data.path={tmp_path}"))
    sweep = read_sweeps(folders)
    write_tables(sweep, standings(sweep), tmp_path)
    assert str(tmp_path) in (tmp_path / "leaderboard.md").read_text()
    text = (tmp_path / "leaderboard.tex").read_text()
    assert "topk (one/s)" in text
    assert str(tmp_path) not in text


def test_every_table_has_every_arm_and_its_command(tmp_path):
    folder = write_sweep(tmp_path / "s")
    printed = write_leaderboard(folder)
    for arm in read_sweep(folder).arms:
        assert arm.label in printed
        assert arm.command in (folder / "leaderboard.md").read_text()


def test_latex_and_markdown_show_labels_as_they_are(tmp_path):
    folder = write_sweep(tmp_path / "s", [FakeArm(r"50% of a_b & c\d | {x} #1"), FakeArm("topk")])
    write_leaderboard(folder)
    cell = r"50\% of a\_b \& c\textbackslash{}d \textbar{} \{x\} \#1"
    assert f" & {cell} & " in (folder / "leaderboard.tex").read_text()
    assert r"| 50% of a\_b & c\\d \| \{x\} \#1 |" in (folder / "leaderboard.md").read_text()


def test_tables_do_not_control_a_terminal_or_a_spreadsheet(tmp_path):
    formula = "=HYPERLINK(1)"
    arms = [FakeArm(formula, params=((formula, formula),)), FakeArm("a\x1b]0;title\x07\nb")]
    folder = write_sweep(tmp_path / "s", arms)
    printed = write_leaderboard(folder)
    texts = [printed, *((folder / f"leaderboard.{kind}").read_text() for kind in ("md", "tex"))]
    assert not any(sign in text for text in texts for sign in "\x1b\x07")
    assert "a\N{REPLACEMENT CHARACTER}]0;title\N{REPLACEMENT CHARACTER} b" in printed
    (found,) = (row for row in rows_of(folder) if "HYPER" in row["arm"])
    assert (found["arm"], found[f"param:{formula}"]) == (f"'{formula}", f"'{formula}")
    assert "\x1b" not in (folder / "leaderboard.csv").read_text()


def test_latex_rows_have_one_cell_per_column(tmp_path):
    folder = write_sweep(tmp_path / "s")
    write_leaderboard(folder)
    lines = (folder / "leaderboard.tex").read_text().splitlines()
    start = lines.index(r"\toprule")
    columns = len(lines[start - 1].partition("}{")[2].rstrip("}"))
    rows = [line for line in lines[start:] if line.endswith(r"\\")]
    assert len(rows) == 1 + len(ARMS)
    assert {line.count(" & ") + 1 for line in rows} == {columns}


def test_the_same_sweep_gives_the_same_tables(tmp_path):
    folder = write_sweep(tmp_path / "s")
    names = ["leaderboard.csv", "leaderboard.md", "leaderboard.tex"]
    once = write_leaderboard(folder), *((folder / name).read_text() for name in names)
    again = write_leaderboard(folder), *((folder / name).read_text() for name in names)
    assert once == again
    assert not list(folder.glob("*.part"))


def test_the_front_is_of_confirmed_means_within_constraints(tmp_path):
    score_and_cost = [
        {"metric": "score.value", "direction": "maximize"},
        {"metric": "compute.flops_per_item", "direction": "minimize"},
    ]
    arms = [
        FakeArm("big", (0.97, 0.98, 0.99), flops=4e6),
        FakeArm("small", (0.9, 0.91, 0.92), flops=1e6),
        FakeArm("poor", (0.8, 0.81, 0.82), flops=2e6),
        FakeArm("unfinished", (1.0, None, None), flops=1e3),
    ]
    folder = write_sweep(tmp_path / "s", arms, objectives=score_and_cost)
    found = {row.arm.label: row.front for row in standings(read_sweep(folder))}
    assert found == {"big": True, "small": True, "poor": False, "unfinished": False}
    text = (folder / "sweep.yaml").read_text()
    text = text.replace("constraints: []", "constraints: ['compute.flops_per_item <= 3e6']")
    (folder / "sweep.yaml").write_text(text)
    found = {row.arm.label: row.front for row in standings(read_sweep(folder))}
    assert found == {"big": False, "small": True, "poor": False, "unfinished": False}


def test_merged_sweeps_have_one_leaderboard(tmp_path):
    one = write_sweep(tmp_path / "one", FIVE, confirm_seeds=5)
    other = write_sweep(tmp_path / "other", FIVE[:1], confirm_seeds=5)
    merged = tmp_path / "merged"
    merged.mkdir()
    sweep = read_sweeps([one, other])
    printed = write_tables(sweep, standings(sweep), merged)
    assert "topk (one)" in printed
    assert "topk (other)" in printed
    assert len(rows_of(merged)) == 4


def test_merged_sweeps_with_other_seeds_are_compared_on_those_that_they_share(tmp_path):
    one = write_sweep(tmp_path / "one", FIVE, confirm_seeds=5)
    other = write_sweep(tmp_path / "other", [FakeArm("even")], confirm_seeds=3)
    found = verdicts_of(read_sweeps([one, other]))
    assert found.seeds == (1000, 1001, 1002)
    assert len(found.of("topk", "even").pair.differences) == 3


def test_another_objective_has_verdicts_too(tmp_path):
    arms = [FakeArm("even", (0.9, 0.91, 0.92), imbalance=0.0), FakeArm("odd", imbalance=50.0)]
    sweep = read_sweep(write_sweep(tmp_path / "s", arms))
    assert verdicts_of(sweep, "load.max_violation").of("even", "odd").word == "better"
