"""A claim tested: two of three experts, one per view, against all three at work.

Claimed for recommendation of short videos (content, behaviour and time features): 30% less
compute and better click-through. Here on Census-Income, whose columns are grouped alike; income
over 50,000, as rare as clicks, is the one target. Five seeds; writes ``benchmarks/views.csv``
(one row per run) and the table in README.md between its markers.

    python benchmarks/claims_views.py --data FILE    run what is missing, then write the table
    python benchmarks/claims_views.py                write the table from the rows there are
"""

import argparse
import time
from functools import cache
from pathlib import Path
from statistics import mean, median

import torch
from _runs import (
    HERE,
    Row,
    column,
    config_hash,
    finished_run,
    interval,
    read_rows,
    result_of,
    run_missing,
    write_between,
)

from tasks import Task
from tasks._batches import InOrder
from tasks._build import build_backbone, build_task
from tasks._config import compose

ROWS = HERE / "views.csv"
SEEDS = (0, 1, 2, 3, 4)
PASSES = 15

#: Label, and what to add to ``python -m tasks experiment=census_views task.data.path=FILE``.
ARMS = {
    "two of three experts": "router.k=2",
    "all three experts": "router.k=3",
}

FILE = "census-income.test.gz"

HEAD = """\
| at work | AUC income | FLOPs per row | training, s | inference, µs per row |
|---|---|---|---|---|"""


def settings(arm: str, seed: int, data: str = FILE) -> list[str]:
    """Of one run: a click is one target."""
    return [
        "experiment=census_views",
        "~task.data.targets.never_married",
        *ARMS[arm].split(),
        f"seed={seed}",
        f"task.data.path={data}",
    ]


def run(row: Row, data: str) -> Row:
    """One run of the command, and passes of its network over the test rows."""
    given = settings(row["arm"], row["seed"], data)
    with finished_run(given) as out:
        result = result_of(out)
        weights = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    compute = result["compute"]
    return {
        "income": result["scores"]["auc/income"],
        "parameters": compute["parameters"],
        "flops_per_item": compute["flops_per_item"],
        "seconds": round(compute["train_seconds"], 1),
        "inference_us": round(inference(given, weights, read(data)), 3),
    }


@cache
def read(data: str) -> Task:
    """The task with its table, read once."""
    return build_task(compose(settings(next(iter(ARMS)), 0, data)))


@torch.inference_mode()
def inference(given: list[str], weights: dict[str, torch.Tensor], task: Task) -> float:
    """Microseconds per test row in batches of the training's size, median of several passes."""
    config = compose(given)
    torch.set_num_threads(config.trainer.threads or 1)
    test = task.data().test
    net = build_backbone(config, task).eval()
    prefix = "backbone."
    net.load_state_dict(
        {name[len(prefix) :]: w for name, w in weights.items() if name.startswith(prefix)}
    )
    batches = list(InOrder(test, config.trainer.batch_size))
    seconds = []
    for _ in range(PASSES):
        start = time.perf_counter()
        for batch in batches:
            net(batch)
        seconds.append(time.perf_counter() - start)
    return 1e6 * median(seconds) / len(test["y"])


def table() -> str:
    """The rows as a Markdown table, and in a sentence how two experts differ from three."""
    lines = [HEAD]
    by_arm = {arm: [row for row in read_rows(ROWS) if row["arm"] == arm] for arm in ARMS}
    for arm, rows in by_arm.items():
        if len(rows) < len(SEEDS):
            return "\n".join(lines)
        lines.append(
            f"| {arm} | {interval(column(rows, 'income'), 4)} "
            f"| {mean(column(rows, 'flops_per_item')):,.0f} "
            f"| {interval(column(rows, 'seconds'), 0)} "
            f"| {interval(column(rows, 'inference_us'), 2)} |"
        )
    return "\n".join([*lines, "", _difference(*by_arm.values())])


def _difference(two: list[Row], three: list[Row]) -> str:
    """Costs as ratios of means; AUC as the mean difference over seeds with its interval."""
    two, three = (sorted(rows, key=lambda row: int(row["seed"])) for rows in (two, three))

    def saved(name: str) -> str:
        return f"{mean(column(two, name)) / mean(column(three, name)) - 1:+.0%}"

    pairs = zip(column(two, "income"), column(three, "income"), strict=True)
    return (
        f"Two experts instead of three: {saved('flops_per_item')} FLOPs, "
        f"{saved('seconds')} training time, {saved('inference_us')} inference time, and AUC "
        f"differs by {interval([a - b for a, b in pairs], 4)}."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="the file to run on; none to run nothing")
    path = parser.parse_args().data
    if path is not None:
        file = str(path.resolve(strict=True))
        wanted = [
            {"arm": arm, "seed": seed, "config": config_hash(settings(arm, seed))}
            for seed in SEEDS
            for arm in ARMS
        ]
        run_missing(ROWS, wanted, lambda row: run(row, file))
    write_between("views", table())
