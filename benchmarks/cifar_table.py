"""CIFAR-10: a routed convolutional network beside the dense one of equal FLOPs, one seed each.

Runs ``python -m tasks experiment=cifar10`` once per arm and writes ``benchmarks/cifar.csv`` (one
row per run, validation accuracy after every epoch in it) and the table in README.md between its
markers.

    python benchmarks/cifar_table.py --data FOLDER    run what is missing, then write the table
    python benchmarks/cifar_table.py                  write the table from the rows there are
"""

import argparse
import csv
from pathlib import Path

from _runs import (
    HERE,
    Row,
    config_hash,
    finished_run,
    read_rows,
    result_of,
    run_missing,
    write_between,
)

ROWS = HERE / "cifar.csv"

#: Label, and what to add to ``python -m tasks experiment=cifar10 task.data.path=FOLDER``.
ARMS = {"`topk`, 2 of 4 experts": "router=topk", "dense, equal FLOPs": "moe.control=iso_flop"}

#: What the reader of the rows is told of the data; its place is no part of a configuration.
FOLDER = "cifar10"

HEAD = """\
| network | test accuracy | validation, by epoch | MFLOPs per image | active parameters |
|---|---|---|---|---|"""


def settings(arm: str, data: str = FOLDER) -> list[str]:
    """Of one run."""
    return ["experiment=cifar10", *ARMS[arm].split(), "seed=0", f"task.data.path={data}"]


def run(row: Row, data: str) -> Row:
    """One run of the command."""
    with finished_run(settings(row["arm"], data)) as out:
        result = result_of(out)
        with (out / "metrics.csv").open(newline="") as file:
            seen = [line.get("val/accuracy") for line in csv.DictReader(file)]
    compute = result["compute"]
    return {
        "accuracy": result["score"]["value"],
        "curve": " ".join(f"{float(value):.3f}" for value in seen if value),
        "flops_per_item": compute["flops_per_item"],
        "parameters": compute["parameters"],
        "active_parameters": compute["active_parameters"],
        "seconds": round(compute["train_seconds"], 1),
    }


def table() -> str:
    """The rows as a Markdown table, arms in their order."""
    lines = [HEAD]
    for row in sorted(read_rows(ROWS), key=lambda row: list(ARMS).index(row["arm"])):
        active, total = float(row["active_parameters"]) / 1e6, float(row["parameters"]) / 1e6
        lines.append(
            f"| {row['arm']} | {float(row['accuracy']):.3f} | {row['curve']} "
            f"| {float(row['flops_per_item']) / 1e6:.0f} | {active:.2f}M of {total:.2f}M |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="the folder to run on; none to run nothing")
    path = parser.parse_args().data
    if path is not None:
        folder = str(path.resolve(strict=True))
        wanted = [{"arm": arm, "seed": 0, "config": config_hash(settings(arm))} for arm in ARMS]
        run_missing(ROWS, wanted, lambda row: run(row, folder))
    write_between("cifar", table())
