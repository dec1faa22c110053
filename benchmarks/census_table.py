"""Census-income: two targets at once, four ways to share a network, three seeds each.

Runs ``python -m tasks experiment=census`` once per arm and seed and writes
``benchmarks/census.csv`` (one row per run) and the table in README.md between its markers.

    python benchmarks/census_table.py --data FILE    run what is missing, then write the table
    python benchmarks/census_table.py                write the table from the rows there are
"""

import argparse
from pathlib import Path
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

ROWS = HERE / "census.csv"
SEEDS = (0, 1, 2)

#: Label, and what to add to ``python -m tasks experiment=census task.data.path=FILE``.
ARMS = {
    "MMoE": "task.sharing=mmoe",
    "PLE (CGC)": "task.sharing=ple",
    "shared bottom": "task.sharing=shared_bottom",
    "single task": "task.sharing=single",
}

#: What the reader of the rows is told of the file; its place is no part of a configuration.
FILE = "census-income.test.gz"

HEAD = """\
| sharing | AUC income | AUC never married | parameters | FLOPs per row | training, s |
|---|---|---|---|---|---|"""


def settings(arm: str, seed: int, data: str = FILE) -> list[str]:
    """Of one run."""
    return ["experiment=census", *ARMS[arm].split(), f"seed={seed}", f"task.data.path={data}"]


def run(row: Row, data: str) -> Row:
    """One run of the command."""
    with finished_run(settings(row["arm"], row["seed"], data)) as out:
        result = result_of(out)
    compute, scores = result["compute"], result["scores"]
    return {
        "income": scores["auc/income"],
        "never_married": scores["auc/never_married"],
        "parameters": compute["parameters"],
        "flops_per_item": compute["flops_per_item"],
        "seconds": round(compute["train_seconds"], 1),
    }


def table() -> str:
    """The rows as a Markdown table, arms in their order."""
    lines = [HEAD]
    for arm in ARMS:
        rows = [row for row in read_rows(ROWS) if row["arm"] == arm]
        if len(rows) == len(SEEDS):
            lines.append(
                f"| {arm} | {interval(column(rows, 'income'), 4)} "
                f"| {interval(column(rows, 'never_married'), 4)} "
                f"| {mean(column(rows, 'parameters')):,.0f} "
                f"| {mean(column(rows, 'flops_per_item')):,.0f} "
                f"| {mean(column(rows, 'seconds')):.0f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="the file to run on; none to run nothing")
    path = parser.parse_args().data
    if path is not None:
        file = str(path.resolve(strict=True))
        wanted = [
            {"arm": arm, "seed": seed, "config": config_hash(settings(arm, seed))}
            for seed in SEEDS
            for arm in ARMS
        ]
        run_missing(ROWS, wanted, lambda row: run(row, file))
    write_between("census", table())
