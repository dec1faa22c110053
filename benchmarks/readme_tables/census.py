"""Census-Income: two targets, four ways to share a network, three seeds each.

Trains ``python -m tasks experiment=census`` once per arm and seed. Writes one row per run to
``benchmarks/results/census.csv`` and the table to ``docs/worked_cases.md``.

    python benchmarks/readme_tables/census.py --data FILE    train what is missing, write the table
    python benchmarks/readme_tables/census.py                write the table from existing rows
"""

from pathlib import Path

from benchmarks.readme_tables.comparison import (
    RESULTS,
    Comparison,
    Row,
    average,
    column,
    interval,
    markdown,
    result_of,
    write_between,
)


def figures(out: Path) -> Row:
    """Numbers to keep of a run."""
    result = result_of(out)
    compute, scores = result["compute"], result["scores"]
    return {
        "income": scores["auc/income"],
        "never_married": scores["auc/never_married"],
        "parameters": compute["parameters"],
        "flops_per_item": compute["flops_per_item"],
        "seconds": round(compute["train_seconds"], 1),
    }


CENSUS = Comparison(
    rows=RESULTS / "census.csv",
    arms={
        "MMoE": "experiment=census task.sharing=mmoe",
        "PLE (CGC)": "experiment=census task.sharing=ple",
        "shared bottom": "experiment=census task.sharing=shared_bottom",
        "single task": "experiment=census task.sharing=single",
    },
    seeds=(0, 1, 2),
    figures=figures,
    data="census-income.test.gz",
)
HEADINGS = (
    "sharing",
    "AUC income",
    "AUC never married",
    "parameters",
    "FLOPs per row",
    "training, s",
)


def table() -> str:
    """The rows as a Markdown table, arms in their order."""
    return markdown(
        HEADINGS, (_cells(arm, rows) for arm in CENSUS.arms if (rows := CENSUS.of(arm)))
    )


def _cells(arm: str, rows: list[Row]) -> list[str]:
    return [
        arm,
        interval(column(rows, "income"), 4),
        interval(column(rows, "never_married"), 4),
        f"{average(rows, 'parameters'):,.0f}",
        f"{average(rows, 'flops_per_item'):,.0f}",
        f"{average(rows, 'seconds'):.0f}",
    ]


if __name__ == "__main__":
    CENSUS.run_command(__doc__, lambda: write_between("worked_cases.md", "census", table()))
