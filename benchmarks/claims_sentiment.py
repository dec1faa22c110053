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
import csv
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, median

import torch
from _runs import (
    HERE,
    Row,
    column,
    config_hash,
    interval,
    read_rows,
    result_of,
    write_between,
)

from tasks import Batch
from tasks._batches import InOrder
from tasks._config import compose
from tasks._module import RoutedModule
from tasks._run import Run

ROWS = HERE / "sentiment.csv"
SEEDS = (0, 1, 2, 3, 4)
PASSES = 9

#: Label, and what to add to ``python -m tasks``.
ARMS = {
    "learned: `topk`": "experiment=sentiment_learned",
    "by language: `mapped`": "experiment=sentiment_mapped",
    "static, equal parameters": "experiment=sentiment_static",
    "static, equal FLOPs": "experiment=sentiment_static moe.control=iso_flop",
}

#: What the others are compared with.
STATIC = "static, equal parameters"

#: What a configuration says of the data; its place is no part of it.
FOLDER = "tweet_sentiment_multilingual"

HEAD = """\
| model | accuracy | macro F1 | active / all parameters | kFLOPs per text | texts per second |
|---|---|---|---|---|---|"""


def settings(arm: str, seed: int, data: str = FOLDER) -> list[str]:
    """Of one run."""
    return [*ARMS[arm].split(), f"seed={seed}", f"task.data.path={data}"]


def folder_of(runs: Path, arm: str, seed: int) -> Path:
    """Where a run is kept: named by all its configuration says."""
    return runs / config_hash(settings(arm, seed))


def train(runs: Path, arm: str, seed: int, data: str) -> None:
    """The command, unless it has run to its end already."""
    out = folder_of(runs, arm, seed)
    if (out / "result.json").exists():
        return
    command = [sys.executable, "-m", "tasks", *settings(arm, seed, data), f"out={out}"]
    started = (out / "checkpoints" / "last.ckpt").exists()
    again = [sys.executable, "-m", "tasks", f"resume={out}"]
    subprocess.run(
        again if started else command, check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL
    )


def row_of(runs: Path, arm: str, seed: int, texts_per_second: float) -> Row:
    """What a run and the clock say."""
    result = result_of(folder_of(runs, arm, seed))
    compute, scores = result["compute"], result["scores"]
    by_group = {name: value for name, value in scores.items() if name.startswith("macro_f1/")}
    return {
        "arm": arm,
        "seed": seed,
        "config": config_hash(settings(arm, seed)),
        "accuracy": scores["accuracy"],
        "macro_f1": result["score"]["value"],
        "validation": result["score"]["validation"],
        **by_group,
        "parameters": compute["parameters"],
        "active_parameters": compute["active_parameters"],
        "flops_per_item": compute["flops_per_item"],
        "texts_per_second": round(texts_per_second, 1),
    }


@torch.inference_mode()
def speeds(runs: Path, seed: int, data: str) -> dict[str, float]:
    """Test texts per second of every arm: medians of passes that take turns.

    Hashing the n-grams is part of the network and is timed; reading is not.
    """
    ready = {arm: trained(runs, arm, seed, data) for arm in ARMS}
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    texts = 0
    for _ in range(1 + PASSES):  # the first, which warms up, does not count
        for arm, (module, batches) in ready.items():
            start = time.perf_counter()
            for batch in batches:
                module.backbone(batch)
            seconds[arm].append(time.perf_counter() - start)
            texts = sum(len(batch["y"]) for batch in batches)
    return {arm: texts / median(taken[1:]) for arm, taken in seconds.items()}


def trained(runs: Path, arm: str, seed: int, data: str) -> tuple[RoutedModule, list[Batch]]:
    """An arm's network with what it learned, and the test texts as it takes them."""
    run = Run(compose(settings(arm, seed, data)))
    saved = folder_of(runs, arm, seed) / "checkpoints" / "last.ckpt"
    run.module.load_state_dict(torch.load(saved, weights_only=True)["state_dict"])
    test = InOrder(run.data.test, run.config.trainer.batch_size)
    return run.module.eval(), [run.module.described(batch) for batch in test]


def run_missing(runs: Path, data: str) -> None:
    """Train what is missing, seed by seed, and time all arms of a seed together."""
    rows = kept_rows()
    for seed in SEEDS:
        if {row["arm"] for row in rows if int(row["seed"]) == seed} == set(ARMS):
            continue
        for arm in ARMS:
            train(runs, arm, seed, data)
        rows = [row for row in rows if int(row["seed"]) != seed]
        fast = speeds(runs, seed, data)
        rows += [row_of(runs, arm, seed, fast[arm]) for arm in ARMS]
        write_rows(rows)


def kept_rows() -> list[Row]:
    """The rows whose configuration is still what it was."""
    return [
        row
        for row in read_rows(ROWS)
        if row["arm"] in ARMS
        and row["config"] == config_hash(settings(row["arm"], int(row["seed"])))
    ]


def write_rows(rows: list[Row]) -> None:
    """All rows, in place of those there were."""
    new = ROWS.with_suffix(".new")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[-1]))
        writer.writeheader()
        writer.writerows(rows)
    new.replace(ROWS)


def table() -> str:
    """The rows as a Markdown table, and each arm's paired difference from the static one."""
    by_arm = {arm: [row for row in kept_rows() if row["arm"] == arm] for arm in ARMS}
    if any(len(rows) < len(SEEDS) for rows in by_arm.values()):
        return HEAD
    lines = [HEAD]
    for arm, rows in by_arm.items():
        active, total = column(rows, "active_parameters"), column(rows, "parameters")
        lines.append(
            f"| {arm} | {interval(column(rows, 'accuracy'), 3)} "
            f"| {interval(column(rows, 'macro_f1'), 3)} "
            f"| {mean(active) / 1e6:.2f}M / {mean(total) / 1e6:.2f}M "
            f"| {mean(column(rows, 'flops_per_item')) / 1e3:.1f} "
            f"| {interval(column(rows, 'texts_per_second'), 0)} |"
        )
    others = (arm for arm in ARMS if arm != STATIC)
    return "\n".join([*lines, "", *(against(by_arm[arm], by_arm[STATIC]) for arm in others)])


def against(rows: list[Row], static: list[Row]) -> str:
    """Mean difference over seeds, with Student's 95% interval, from the static arm."""

    def change(name: str) -> list[float]:
        pairs = zip(column(rows, name), column(static, name), strict=True)
        return [100 * (one / other - 1) for one, other in pairs]

    words = {"accuracy": "accuracy", "macro_f1": "macro F1", "texts_per_second": "speed"}
    parts = [f"{word} {interval(change(name), 1)}%" for name, word in words.items()]
    return f"- {rows[0]['arm']} relative to {STATIC}: {', '.join(parts)}."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="the folder to run on; none to run nothing")
    parser.add_argument("--runs", type=Path, default=HERE.parent / "runs" / "sentiment")
    given = parser.parse_args()
    if given.data is not None:
        run_missing(given.runs, str(given.data.resolve(strict=True)))
    write_between("sentiment", table())
