"""CIFAR-10: a routed convolutional network and the dense network of equal FLOPs, one seed each.

Trains ``python -m tasks experiment=cifar10`` once per arm. Writes one row per run, with the
validation accuracy after every epoch, to ``benchmarks/results/cifar.csv`` and the table to
``docs/worked_cases.md``.

    python benchmarks/readme_tables/cifar.py --data FOLDER    train what is missing, write the table
    python benchmarks/readme_tables/cifar.py                  write the table from existing rows
"""

import csv
from pathlib import Path

from benchmarks.readme_tables.comparison import (
    RESULTS,
    Comparison,
    Row,
    markdown,
    result_of,
    write_between,
)


def figures(out: Path) -> Row:
    """Numbers to keep of a run."""
    result = result_of(out)
    with (out / "metrics.csv").open(newline="") as file:
        accuracies = [line.get("val/accuracy") for line in csv.DictReader(file)]
    compute = result["compute"]
    return {
        "accuracy": result["score"]["value"],
        "curve": " ".join(f"{float(value):.3f}" for value in accuracies if value),
        "flops_per_item": compute["flops_per_item"],
        "parameters": compute["parameters"],
        "active_parameters": compute["active_parameters"],
        "seconds": round(compute["train_seconds"], 1),
    }


CIFAR = Comparison(
    rows=RESULTS / "cifar.csv",
    arms={
        "`topk`, 2 of 4 experts": "experiment=cifar10 router=topk",
        "dense, equal FLOPs": "experiment=cifar10 moe.control=iso_flop",
    },
    seeds=(0,),
    figures=figures,
    data="cifar10",
)
HEADINGS = (
    "network",
    "test accuracy",
    "validation, by epoch",
    "MFLOPs per image",
    "active parameters",
)


def table() -> str:
    """The rows as a Markdown table, arms in their order."""
    rows = [row for arm in CIFAR.arms for row in CIFAR.of(arm)]
    return markdown(HEADINGS, map(_cells, rows))


def _cells(row: Row) -> list[str]:
    active, total = (float(row[name]) / 1e6 for name in ("active_parameters", "parameters"))
    return [
        row["arm"],
        f"{float(row['accuracy']):.3f}",
        row["curve"],
        f"{float(row['flops_per_item']) / 1e6:.0f}",
        f"{active:.2f}M of {total:.2f}M",
    ]


if __name__ == "__main__":
    CIFAR.run_command(__doc__, lambda: write_between("worked_cases.md", "cifar", table()))
