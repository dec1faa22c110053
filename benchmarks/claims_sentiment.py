"""A claim tested: sentiment in eight languages, routed against one static model.

Claimed: 8% more accuracy and 25% more speed than a static model of equal total parameters. Here
on tweets in eight languages (UMSAB, Barbieri et al. 2022), five seeds of every arm, the same
seeds, data order and epochs for all. Inference is timed with the networks of all arms in one
process, taking turns. Writes ``benchmarks/sentiment.csv`` (one row per run) and the table in
README.md between its markers ``sentiment:start`` and ``sentiment:end``.

    python benchmarks/claims_sentiment.py --data FOLDER   run what is missing, then write the table
    python benchmarks/claims_sentiment.py                 write the table from the rows there are

Runs are kept under ``--runs`` and taken up again from there.
"""

import argparse
from pathlib import Path
from statistics import mean

from _claims import Claim, change, run_missing
from _runs import HERE, Row, column, interval, write_between

#: What the others are compared with.
STATIC = "static, equal parameters"

HEAD = """\
| model | accuracy | macro F1 | active / all parameters | kFLOPs per text | texts per second |
|---|---|---|---|---|---|"""

#: What is compared between arms, by its column.
WORDS = {"accuracy": "accuracy", "macro_f1": "macro F1", "per_second": "speed"}


def figures(result: Row) -> Row:
    """What to keep of a result."""
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


CLAIM = Claim(
    rows=HERE / "sentiment.csv",
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
    if any(len(rows) < len(CLAIM.seeds) for rows in by_arm.values()):
        return HEAD
    lines = [HEAD]
    for arm, rows in by_arm.items():
        active, total = column(rows, "active_parameters"), column(rows, "parameters")
        lines.append(
            f"| {arm} | {interval(column(rows, 'accuracy'), 3)} "
            f"| {interval(column(rows, 'macro_f1'), 3)} "
            f"| {mean(active) / 1e6:.2f}M / {mean(total) / 1e6:.2f}M "
            f"| {mean(column(rows, 'flops_per_item')) / 1e3:.1f} "
            f"| {interval(column(rows, 'per_second'), 0)} |"
        )
    others = (arm for arm in CLAIM.arms if arm != STATIC)
    return "\n".join([*lines, "", *(against(arm, by_arm) for arm in others)])


def against(arm: str, by_arm: dict[str, list[Row]]) -> str:
    """Mean difference over seeds, with Student's 95% interval, from the static arm."""
    rows, static = by_arm[arm], by_arm[STATIC]
    parts = [f"{word} {change(rows, static, name)}" for name, word in WORDS.items()]
    return f"- {arm} relative to {STATIC}: {', '.join(parts)}."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="the folder to run on; none to run nothing")
    parser.add_argument("--runs", type=Path, default=HERE.parent / "runs" / "sentiment")
    given = parser.parse_args()
    if given.data is not None:
        run_missing(CLAIM, given.runs, str(given.data.resolve(strict=True)))
    write_between("sentiment", table())
