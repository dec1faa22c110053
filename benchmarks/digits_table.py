"""The README's digits table: every arm is the command a user would type, for three seeds.

Runs ``python -m tasks`` once per arm and seed, each on one thread, and writes
``benchmarks/digits.csv`` (one row per run) and the table in README.md between its markers.

    python benchmarks/digits_table.py            run what is missing, then write the table
    python benchmarks/digits_table.py --table    write the table from the rows there are
"""

import argparse
import time
from statistics import mean

from _runs import (
    HERE,
    Row,
    column,
    config_hash,
    finished_run,
    interval,
    read_rows,
    result_of,
    run_missing,
    write_between,
)

ROWS = HERE / "digits.csv"
SEEDS = (0, 1, 2)

#: Label, and what to add to ``python -m tasks task=digits``.
ARMS = {
    "`topk`": "router=topk",
    "`noisy_topk`": "router=noisy_topk",
    "`expert_choice`": "router=expert_choice",
    "`hash`": "router=hash router.seed=${seed}",
    "`hierarchical`": "router=hierarchical",
    "`soft_mixture`": "router=soft_mixture",
    "`soft_moe`": "router=soft_moe",
    "`topk`, no balance term": "router=topk losses={}",
    "`topk`, stronger balance term": "router=topk losses.switch=0.03",
    "control: `uniform`, by position": "router=uniform",
    "control: `random_fixed`": "router=random_fixed",
    "control: dense, equal FLOPs": "router=topk moe.control=iso_flop",
    "control: dense, equal parameters": "router=topk moe.control=iso_parameter",
}

HEAD = """\
| arm | test accuracy | load CV | MaxVio | active / all parameters | MFLOPs | s |
|---|---|---|---|---|---|---|"""


def settings(arm: str, seed: int) -> list[str]:
    """Of one run."""
    return ["task=digits", *ARMS[arm].split(), f"seed={seed}"]


def run(row: Row) -> Row:
    """One run of the command, timed from outside."""
    start = time.perf_counter()
    with finished_run(settings(row["arm"], row["seed"])) as out:
        seconds = time.perf_counter() - start
        result = result_of(out)
    compute, load = result["compute"], result["load"]
    return {
        "accuracy": result["score"]["value"],
        "cv": load["cv"],
        "max_violation": load["max_violation"],
        "parameters": compute["parameters"],
        "active_parameters": compute["active_parameters"],
        "flops_per_item": compute["flops_per_item"],
        "seconds": round(seconds, 1),
    }


def table() -> str:
    """The rows as a Markdown table, arms in their order."""
    lines = [HEAD]
    for arm in ARMS:
        rows = [row for row in read_rows(ROWS) if row["arm"] == arm]
        if len(rows) < len(SEEDS):
            continue
        active = mean(column(rows, "active_parameters")) / 1e3
        total = mean(column(rows, "parameters")) / 1e3
        lines.append(
            f"| {arm} | {interval(column(rows, 'accuracy'), 3)} "
            f"| {interval(column(rows, 'cv'), 3)} "
            f"| {interval(column(rows, 'max_violation'), 3)} | {active:.0f}k / {total:.0f}k "
            f"| {mean(column(rows, 'flops_per_item')) / 1e6:.2f} "
            f"| {mean(column(rows, 'seconds')):.0f} |"
        )
    return "\n".join(lines)


def balance_matters() -> str:
    """What the balance term does to `topk`, in a sentence, from the rows."""
    without, with_term = "`topk`, no balance term", "`topk`"

    def of(arm: str, name: str) -> float:
        return mean(float(row[name]) for row in read_rows(ROWS) if row["arm"] == arm)

    ratio = of(without, "max_violation") / of(with_term, "max_violation")
    gain = of(with_term, "accuracy") - of(without, "accuracy")
    return (
        f"Balance matters: without its balance term `topk` has {ratio:.1f} times the MaxVio, and "
        f"its mean accuracy differs by {gain:+.3f}."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", action="store_true", help="only write the table again")
    if not parser.parse_args().table:
        wanted = [
            {"arm": arm, "seed": seed, "config": config_hash(settings(arm, seed))}
            for arm in ARMS
            for seed in SEEDS
        ]
        run_missing(ROWS, wanted, run)
    write_between("digits", f"{table()}\n\n{balance_matters()}")
