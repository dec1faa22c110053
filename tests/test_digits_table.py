"""The digits table is made from the rows that exist; the release command checks them."""

from dataclasses import replace

import pytest

import routers
from benchmarks.readme_tables import digits
from benchmarks.readme_tables.comparison import Comparison, read_rows, write_rows

KEPT = read_rows(digits.DIGITS.rows)


@pytest.fixture
def table(tmp_path) -> Comparison:
    """The comparison with a copy of its rows."""
    write_rows(tmp_path / "digits.csv", KEPT)
    return replace(digits.DIGITS, rows=tmp_path / "digits.csv")


def change(table: Comparison, arm: str, **cells: object) -> None:
    """Change cells in all rows of an arm."""
    write_rows(table.rows, [row | cells if row["arm"] == arm else row for row in KEPT])


def test_every_row_belongs_to_an_arm():
    assert {row["arm"] for row in KEPT} <= set(digits.DIGITS.arms)


def test_routers_without_threshold_are_named(table):
    named = digits.notes(table).split("\n\n")[0]
    exempt = [name for name in routers.available() if name not in digits.LEARNED]
    assert exempt
    assert all(f"`{name}`" in named for name in exempt)
    assert not any(f"`{name}`" in named for name in digits.LEARNED)


def test_an_arm_without_rows_is_not_run(table):
    write_rows(table.rows, [row for row in KEPT if row["arm"] != "`depth`"])
    assert "| `depth` |" in digits.table()
    assert "| `depth` |" not in digits.table(table)
    assert "`depth`" in digits.notes(table).partition("Not run: ")[2].partition("\n")[0]
    assert "Balance matters" in digits.notes(table)


def test_a_note_needs_its_rows(table):
    write_rows(table.rows, [row for row in KEPT if row["arm"] != "`relu`"])
    assert "Balance matters" not in digits.notes(table)


def test_missing_seeds_are_stated(table):
    write_rows(table.rows, [r for r in KEPT if r["arm"] != "`depth`" or r["seed"] == "1"])
    (line,) = [line for line in digits.table(table).splitlines() if "`depth`" in line]
    assert line.startswith("| `depth` (seeds: 1) | 0.9")
    assert "±" not in line


def complete(table: Comparison) -> Comparison:
    """Only the arms of which all seeds have rows."""
    done = {arm: s for arm, s in table.arms.items() if len(table.of(arm)) == len(table.seeds)}
    return replace(table, arms=done)


@pytest.mark.parametrize(
    ("arm", "cells", "message"),
    [
        ("`topk`", {"accuracy": 0.9}, "topk: accuracy 0.9000, expected at least 0.97"),
        ("`sigmoid`", {"max_violation": 0.3}, "sigmoid: MaxVio 0.300, expected below 0.2"),
        ("`sigmoid`, no bias", {"accuracy": 1.0}, "sigmoid: its bias costs 0.01"),
        ("`relu`", {"experts_per_item": 3}, "relu: 3.00 experts per item, expected 2 within 10%"),
    ],
)
def test_the_release_check_finds_what_is_wrong(table, monkeypatch, arm, cells, message):
    table = complete(table)
    monkeypatch.setattr(digits, "LEARNED", [n for n in digits.LEARNED if f"`{n}`" in table.arms])
    assert digits.failures(table) == []
    change(table, arm, **cells)
    (failure,) = digits.failures(table)
    assert failure.startswith(message)


def test_the_release_check_finds_missing_seeds(table):
    write_rows(table.rows, [r for r in KEPT if r["arm"] != "`depth`" or r["seed"] != "2"])
    assert "depth: seeds [0, 1], expected [0, 1, 2]" in digits.failures(table)


def test_the_release_check_fails(monkeypatch):
    monkeypatch.setattr(digits, "failures", lambda: ["topk: wrong"])
    with pytest.raises(SystemExit, match="topk: wrong"):
        digits.main(["--check"])


def test_arms_are_trained_again_by_name(table, monkeypatch):
    trained, written = [], []

    def run(self, row, data=""):
        trained.append((row["arm"], row["seed"]))
        return {**KEPT[0], **row, "accuracy": 0.5}

    monkeypatch.setattr(Comparison, "run", run)
    table.run_command("", lambda: written.append("page"), ["depth"])
    assert trained == [("`depth`", seed) for seed in (0, 1, 2)]
    assert written == ["page"]
    after = read_rows(table.rows)
    assert [row for row in after if row["arm"] != "`depth`"] == [
        row for row in KEPT if row["arm"] != "`depth`"
    ]
    assert [row["accuracy"] for row in after if row["arm"] == "`depth`"] == ["0.5"] * 3


def test_only_missing_runs_are_trained(table, monkeypatch):
    table = replace(table, arms={"`depth`": table.arms["`depth`"]})
    current = [{**KEPT[0], **row} for row in table.wanted(table.arms)]
    write_rows(table.rows, [*current[:1], {**current[1], "config": "outdated"}])
    trained = []

    def run(self, row, data=""):
        trained.append(row["seed"])
        return {**KEPT[0], **row}

    monkeypatch.setattr(Comparison, "run", run)
    table.run_missing()
    assert trained == [1, 2]
    assert [row["config"] for row in table.of("`depth`")] == [row["config"] for row in current]


def test_an_unknown_arm_is_refused():
    with pytest.raises(SystemExit, match="arm=reluu: unknown; did you mean 'relu'"):
        digits.main(["reluu"])
