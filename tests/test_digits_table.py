"""What the digits table claims is in its rows: every router, three seeds, and the thresholds."""

import csv
import importlib
from pathlib import Path
from statistics import mean

import pytest

import routers

from .router_samples import traits

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"

#: Those that read a task have no place here; what is given or drawn need not reach a threshold.
HERE = [name for name in routers.available() if not traits(name).needs_task]
LEARNED = [name for name in HERE if traits(name).learned]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("digits_table")


def column(script, arm, name):
    return [float(row[name]) for row in script.rows_of(arm)]


@pytest.mark.parametrize("name", HERE)
def test_every_router_has_a_row_for_every_seed(script, name):
    assert [row["seed"] for row in script.rows_of(f"`{name}`")] == ["0", "1", "2"]
    assert all(0 < value <= 1 for value in column(script, f"`{name}`", "accuracy"))


@pytest.mark.parametrize("name", LEARNED)
def test_every_router_that_learns_reaches_the_threshold(script, name):
    assert mean(column(script, f"`{name}`", "accuracy")) >= 0.97


def test_who_is_exempt_is_named(script):
    said = script.what_is_fixed()
    exempt = [name for name in routers.available() if name not in LEARNED]
    assert exempt
    assert all(f"`{name}`" in said for name in exempt)
    assert not any(f"`{name}`" in said for name in LEARNED)


def test_a_row_is_of_an_arm(script):
    assert {row["arm"] for row in script.read_rows(script.ROWS)} == set(script.ARMS)


def test_a_loss_free_bias_balances_at_a_loss_of_at_most_half_a_percent(script):
    assert mean(column(script, "`sigmoid`", "max_violation")) < 0.2
    with_bias, without = (
        column(script, arm, "accuracy") for arm in ("`sigmoid`", "`sigmoid`, no bias")
    )
    gains = [one - other for one, other in zip(with_bias, without, strict=True)]
    assert mean(gains) >= -0.005


def test_relu_holds_its_experts_per_item(script):
    k = routers.ROUTERS.options("relu")["k"]
    assert mean(column(script, "`relu`", "experts_per_item")) == pytest.approx(k, rel=0.1)


def without_the_last_row(script, folder):
    """A copy of the rows that lacks one."""
    rows = script.read_rows(script.ROWS)
    with (folder / "digits.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[:-1])
    return folder / "digits.csv", rows[-1]


def test_a_missing_row_is_no_empty_place(script, tmp_path, monkeypatch):
    copy, last = without_the_last_row(script, tmp_path)
    monkeypatch.setattr(script, "ROWS", copy)
    with pytest.raises(SystemExit, match=rf"seeds \[0, 1\] for the arm {last['arm']}"):
        script.table()


def test_arms_are_run_again_by_name(script, tmp_path, monkeypatch):
    copy, last = without_the_last_row(script, tmp_path)
    before, ran, written = script.read_rows(copy), [], []
    monkeypatch.setattr(script, "ROWS", copy)
    monkeypatch.setattr(script, "run", lambda row: {**before[0], **ran_as(row)})
    monkeypatch.setattr(script, "write_between", lambda name, text: written.append(name))

    def ran_as(row):
        ran.append((row["arm"], row["seed"]))
        return {"accuracy": 0.5, "experts_per_item": 2.0, **row}

    script.main([script.plain(last["arm"])])
    assert ran == [(last["arm"], seed) for seed in (0, 1, 2)]
    assert written == ["digits"]
    after = script.read_rows(copy)
    others = [row for row in before if row["arm"] != last["arm"]]
    assert [{k: row[k] for k in others[0]} for row in after[: len(others)]] == others
    assert [row["accuracy"] for row in after[len(others) :]] == ["0.5"] * 3


def test_an_arm_that_is_none_is_refused(script):
    with pytest.raises(SystemExit, match="arm=reluu: unknown; did you mean 'relu'"):
        script.main(["reluu"])
