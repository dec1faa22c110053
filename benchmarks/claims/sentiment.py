"""A claim tested: sentiment in eight languages, routed models against one static model.

Claimed: 8% more accuracy and 25% more speed than a static model of equal total parameters. Tested
on tweets in eight languages (UMSAB, Barbieri et al. 2022) with five seeds per arm and the same
seeds, data order and epochs for all arms. Inference is timed with the networks of all arms in one
process, taking turns. Writes one row per run to ``benchmarks/results/sentiment.csv`` and the table
to ``docs/worked_cases.md``.

    python benchmarks/claims/sentiment.py --data FOLDER   train what is missing, write the table
    python benchmarks/claims/sentiment.py                 write the table from existing rows

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

#: The arm that the others are compared with.
STATIC = "static, equal parameters"

HEADINGS = (
    *("model", "accuracy", "macro F1", "active / all parameters"),
    *("kFLOPs per text", "texts per second"),
)

#: What is compared between arms, by CSV column.
WORDS = {"accuracy": "accuracy", "macro_f1": "macro F1", "per_second": "speed"}


def figures(out: Path) -> Row:
    """Numbers to keep of a run."""
    result = result_of(out)
    compute, scores = result["compute"], result["scores"]
    by_group = {name: value for name, value in scores.items() if name.startswith("macro_f1/")}
    return {
        "accuracy": scores["accuracy"],
        "macro_f1": result["score"]["value"],
        "validation": result["score"]["validation"],
        **by_group,
        "parameters": compute["parameters"],
        "active_parameters": compute["active_parameters"],
        "flops_per_item": compute["flops_per_item"],
    }


CLAIM = Comparison(
    rows=RESULTS / "sentiment.csv",
    arms={
        "learned: `topk`": "experiment=sentiment_learned",
        "by language: `mapped`": "experiment=sentiment_mapped",
        STATIC: "experiment=sentiment_static",
        "static, equal FLOPs": "experiment=sentiment_static moe.control=iso_flop",
    },
    seeds=(0, 1, 2, 3, 4),
    data="tweet_sentiment_multilingual",
    figures=figures,
)


def table() -> str:
    """The rows as a Markdown table, and each arm's paired difference from the static one."""
    by_arm = {arm: CLAIM.of(arm) for arm in CLAIM.arms}
    lines = (_cells(arm, rows) for arm, rows in by_arm.items())
    differences = (_difference(arm, by_arm) for arm in CLAIM.arms if arm != STATIC)
    return "\n".join([markdown(HEADINGS, lines), "", *differences])


def _cells(arm: str, rows: list[Row]) -> list[str]:
    active, total = (average(rows, name) / 1e6 for name in ("active_parameters", "parameters"))
    return [
        arm,
        interval(column(rows, "accuracy"), 3),
        interval(column(rows, "macro_f1"), 3),
        f"{active:.2f}M / {total:.2f}M",
        f"{average(rows, 'flops_per_item') / 1e3:.1f}",
        interval(column(rows, "per_second"), 0),
    ]


def _difference(arm: str, by_arm: dict[str, list[Row]]) -> str:
    """Mean difference over seeds, with Student's 95% interval, from the static arm."""
    rows, static = by_arm[arm], by_arm[STATIC]
    parts = [f"{word} {change(rows, static, name)}" for name, word in WORDS.items()]
    return f"- {arm} relative to {STATIC}: {', '.join(parts)}."


if __name__ == "__main__":
    run_command(CLAIM, __doc__, lambda: write_between("worked_cases.md", "sentiment", table()))
