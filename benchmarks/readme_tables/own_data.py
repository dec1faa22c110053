"""Own data with default settings: the network and a simple baseline on the same splits.

Four public data sets stand for a user's own: CIFAR-10, tweets in eight languages, Shakespeare's
plays and Census-Income. Trains what ``conf/task/`` leaves to the data, three seeds each. Writes one
row per run to ``benchmarks/results/own_data.csv`` and the table to ``docs/data.md``.

    python benchmarks/readme_tables/own_data.py --data FOLDER    train what is missing, then
    python benchmarks/readme_tables/own_data.py                  write the table of existing rows
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

#: Of a table the columns are declared, and all other values are left to the data.
CENSUS = (
    "experiment=census router=topk expert=auto moe.num_experts=auto optimizer.name=auto "
    "optimizer.lr=auto optimizer.weight_decay=auto optimizer.warmup=auto trainer.max_epochs=auto "
    "trainer.max_steps=auto trainer.batch_size=auto"
)


def figures(out: Path) -> Row:
    """Numbers to keep of a run."""
    result = result_of(out)
    score, baseline = result["score"], result["baseline"]
    return {
        "score": score["name"],
        "network": score["value"],
        "validation": score["validation"],
        "baseline": baseline["value"],
        "baseline_validation": baseline["validation"],
        "baseline_name": baseline["name"],
        "train_seconds": round(result["compute"]["train_seconds"], 1),
        "baseline_seconds": round(baseline["seconds"], 1),
    }


OWN_DATA = Comparison(
    rows=RESULTS / "own_data.csv",
    arms={
        "CIFAR-10": "baseline=true task=image",
        "tweets": "baseline=true task=text_classification task.data.group=language "
        "task.score=macro_f1",
        "Shakespeare": "baseline=true task=language_model",
        "census": f"baseline=true {CENSUS}",
    },
    seeds=(0, 1, 2),
    figures=figures,
    data="data",
    paths={
        "CIFAR-10": "cifar10",
        "tweets": "tweet_sentiment_multilingual",
        "Shakespeare": "tiny_shakespeare/input.txt",
        "census": "census_income/census-income.test.gz",
    },
)
HEADINGS = ("data", "score", "network", "baseline", "training, s", "baseline, s")


def table() -> str:
    """The rows as a Markdown table, data sets in their order."""
    return markdown(
        HEADINGS, (_cells(arm, rows) for arm in OWN_DATA.arms if (rows := OWN_DATA.of(arm)))
    )


def _cells(arm: str, rows: list[Row]) -> list[str]:
    return [
        arm,
        rows[0]["score"],
        interval(column(rows, "network"), 4),
        f"{average(rows, 'baseline'):.4f} ({rows[0]['baseline_name']})",
        f"{average(rows, 'train_seconds'):.0f}",
        f"{average(rows, 'baseline_seconds'):.0f}",
    ]


if __name__ == "__main__":
    OWN_DATA.run_command(__doc__, lambda: write_between("data.md", "own_data", table()))
