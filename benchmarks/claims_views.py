"""A claim tested: two of three experts, one per view, against all three at work.

Claimed for recommendation of short videos (content, behaviour and time features): 30% less
compute and better click-through. Here on Census-Income, whose columns are grouped alike; income
over 50,000, as rare as clicks, is the one target. Five seeds; writes ``benchmarks/views.csv``
(one row per run) and the table in README.md between its markers.

    python benchmarks/claims_views.py --data FILE    run what is missing, then write the table
    python benchmarks/claims_views.py                write the table from the rows there are

Runs are kept under ``--runs`` and taken up again from there.
"""

import argparse
from pathlib import Path
from statistics import mean

from _claims import Claim, change, run_missing
from _runs import HERE, Row, column, interval, write_between

TWO, THREE = "two of three experts", "all three experts"
COMMON = "experiment=census_views ~task.data.targets.never_married"

HEAD = """\
| at work | AUC income | FLOPs per row | rows per second in inference |
|---|---|---|---|"""


def figures(result: Row) -> Row:
    """What to keep of a result: a click is one target."""
    compute = result["compute"]
    return {
        "income": result["scores"]["auc/income"],
        "parameters": compute["parameters"],
        "flops_per_item": compute["flops_per_item"],
    }


CLAIM = Claim(
    rows=HERE / "views.csv",
    arms={TWO: f"{COMMON} router.k=2", THREE: f"{COMMON} router.k=3"},
    seeds=(0, 1, 2, 3, 4),
    data="census-income.test.gz",
    figures=figures,
)


def table() -> str:
    """The rows as a Markdown table, and in a sentence how two experts differ from three."""
    if any(len(CLAIM.of(arm)) < len(CLAIM.seeds) for arm in CLAIM.arms):
        return HEAD
    lines = [
        f"| {arm} | {interval(column(rows, 'income'), 4)} "
        f"| {mean(column(rows, 'flops_per_item')):,.0f} "
        f"| {interval(column(rows, 'per_second'), 0)} |"
        for arm, rows in ((arm, CLAIM.of(arm)) for arm in CLAIM.arms)
    ]
    two, three = CLAIM.of(TWO), CLAIM.of(THREE)
    saved = mean(column(two, "flops_per_item")) / mean(column(three, "flops_per_item")) - 1
    pairs = zip(column(two, "income"), column(three, "income"), strict=True)
    words = (
        f"Two experts instead of three: {saved:+.0%} FLOPs, inference speed "
        f"{change(two, three, 'per_second')}, and AUC differs by "
        f"{interval([a - b for a, b in pairs], 4)}."
    )
    return "\n".join([HEAD, *lines, "", words])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="the file to run on; none to run nothing")
    parser.add_argument("--runs", type=Path, default=HERE.parent / "runs" / "views")
    given = parser.parse_args()
    if given.data is not None:
        run_missing(CLAIM, given.runs, str(given.data.resolve(strict=True)))
    write_between("views", table())
