"""A claim tested: two of three experts, one per view, against all three experts.

Claimed for recommendation of short videos (content, behaviour and time features): 30% less
compute and better click-through. Tested on Census-Income, whose columns are grouped alike; income
over 50,000, as rare as clicks, is the only target. Five seeds. Writes one row per run to
``benchmarks/results/views.csv`` and the table to ``docs/worked_cases.md``.

    python benchmarks/claims/views.py --data FILE    train what is missing, write the table
    python benchmarks/claims/views.py                write the table from existing rows

Runs are kept under ``--runs``; unfinished ones are resumed.
"""

from pathlib import Path

from benchmarks.claims.claim import change, run_command
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

TWO, THREE = "two of three experts", "all three experts"
COMMON = "experiment=census_views ~task.data.targets.never_married"
HEADINGS = ("active experts", "AUC income", "FLOPs per row", "rows per second in inference")


def figures(out: Path) -> Row:
    """Numbers to keep of a run."""
    result = result_of(out)
    compute = result["compute"]
    return {
        "income": result["scores"]["auc/income"],
        "parameters": compute["parameters"],
        "flops_per_item": compute["flops_per_item"],
    }


CLAIM = Comparison(
    rows=RESULTS / "views.csv",
    arms={TWO: f"{COMMON} router.k=2", THREE: f"{COMMON} router.k=3"},
    seeds=(0, 1, 2, 3, 4),
    data="census-income.test.gz",
    figures=figures,
)


def table() -> str:
    """The rows as a Markdown table, and the difference between two and three experts."""
    two, three = CLAIM.of(TWO), CLAIM.of(THREE)
    saved = average(two, "flops_per_item") / average(three, "flops_per_item") - 1
    pairs = zip(column(two, "income"), column(three, "income"), strict=True)
    difference = (
        f"Two experts instead of three: {saved:+.0%} FLOPs, inference speed "
        f"{change(two, three, 'per_second')}, and AUC differs by "
        f"{interval([a - b for a, b in pairs], 4)}."
    )
    lines = [_cells(TWO, two), _cells(THREE, three)]
    return "\n".join([markdown(HEADINGS, lines), "", difference])


def _cells(arm: str, rows: list[Row]) -> list[str]:
    return [
        arm,
        interval(column(rows, "income"), 4),
        f"{average(rows, 'flops_per_item'):,.0f}",
        interval(column(rows, "per_second"), 0),
    ]


if __name__ == "__main__":
    run_command(CLAIM, __doc__, lambda: write_between("worked_cases.md", "views", table()))
