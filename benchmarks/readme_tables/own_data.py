"""Own data with default settings: the network and a simple baseline on the same splits.

Four public data sets stand for a user's own: CIFAR-10, tweets in eight languages, Shakespeare's
plays and Census-Income. Trains what ``conf/task/`` leaves to the data, three seeds each. Writes one
row per run to ``benchmarks/results/own_data/`` and prints the table.

    python benchmarks/readme_tables/own_data.py --data FOLDER    train what is missing
    python benchmarks/readme_tables/own_data.py                  print the table of existing rows
"""

import argparse
from pathlib import Path
from typing import NamedTuple

from benchmarks.readme_tables.comparison import (
    RESULTS,
    Comparison,
    Row,
    average,
    column,
    interval,
    markdown,
    result_of,
)

#: Of a table the columns are declared, and all other values are left to the data.
CENSUS = (
    "experiment=census router=topk expert=auto moe.num_experts=auto optimizer.name=auto "
    "optimizer.lr=auto optimizer.weight_decay=auto optimizer.warmup=auto trainer.max_epochs=auto "
    "trainer.max_steps=auto trainer.batch_size=auto"
)


class Set(NamedTuple):
    """A data set: its path in the folder, and the overrides of ``python -m tasks``."""

    path: str
    command: str


SETS = {
    "CIFAR-10": Set("cifar10", "task=image"),
    "tweets": Set(
        "tweet_sentiment_multilingual",
        "task=text_classification task.data.group=language task.score=macro_f1",
    ),
    "Shakespeare": Set("tiny_shakespeare/input.txt", "task=language_model"),
    "census": Set("census_income/census-income.test.gz", CENSUS),
}


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


COMPARISONS = {
    name: Comparison(
        rows=RESULTS / "own_data" / f"{name.lower()}.csv",
        arms={name: f"{found.command} baseline=true"},
        seeds=(0, 1, 2),
        figures=figures,
        data=found.path,
    )
    for name, found in SETS.items()
}
HEADINGS = ("data", "score", "network", "baseline", "training, s", "baseline, s")


def table() -> str:
    """The rows as a Markdown table, data sets in their order."""
    found = {name: each.of(name) for name, each in COMPARISONS.items()}
    return markdown(HEADINGS, (_cells(name, rows) for name, rows in found.items() if rows))


def _cells(name: str, rows: list[Row]) -> list[str]:
    baseline = f"{average(rows, 'baseline'):.4f} ({rows[0]['baseline_name']})"
    return [
        name,
        rows[0]["score"],
        interval(column(rows, "network"), 4),
        baseline,
        f"{average(rows, 'train_seconds'):.0f}",
        f"{average(rows, 'baseline_seconds'):.0f}",
    ]


def main() -> None:
    """Train what is missing, if the data is given, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder that holds the four data sets")
    folder = parser.parse_args().data
    if folder is not None:
        (RESULTS / "own_data").mkdir(exist_ok=True)
        for name, comparison in COMPARISONS.items():
            comparison.run_missing(str((folder / SETS[name].path).resolve(strict=True)))
    print(table())


if __name__ == "__main__":
    main()
