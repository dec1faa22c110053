"""Training of a claim's arms, and inference speed of all arms of a seed timed in turns."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

from benchmarks.readme_tables.comparison import (
    ROOT,
    Comparison,
    Row,
    interval,
    read_rows,
    train,
    write_rows,
)
from tasks import Batch, RoutedModule, Run, compose

PASSES = 9


def run_command(claim: Comparison, description: str, write: Callable[[], None]) -> None:
    """Train and time what the command line asks, then write the table."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="path of the data; without it nothing is trained")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / claim.rows.stem)
    given = parser.parse_args()
    if given.data is not None:
        run_missing(claim, given.runs, str(given.data.resolve(strict=True)))
    write()


def run_missing(claim: Comparison, runs: Path, data: str) -> None:
    """Train missing runs seed by seed, and time all arms of a seed together.

    Args:
        claim: its rows get a column ``per_second``.
        runs: folder that keeps the runs; unfinished ones are resumed.
        data: path of the data.
    """
    for seed in claim.seeds:
        wanted = [row for row in claim.wanted(claim.arms) if row["seed"] == seed]
        rows = read_rows(claim.rows)
        done = {(row["arm"], row["config"]) for row in rows}
        if done.issuperset((row["arm"], row["config"]) for row in wanted):
            continue
        for row in wanted:
            _train(claim, runs / row["config"], row, data)
        speeds = _speeds(
            {row["arm"]: _trained(claim, runs / row["config"], row, data) for row in wanted}
        )
        rows = [row for row in rows if int(row["seed"]) != seed]
        for row in wanted:
            speed = round(speeds[row["arm"]], 1)
            rows.append({**row, **claim.figures(runs / row["config"]), "per_second": speed})
        write_rows(claim.rows, rows)


def change(rows: Sequence[Row], others: Sequence[Row], name: str) -> str:
    """Relative difference in percent, paired by seed: mean and Student's 95% interval."""
    pairs = ((float(a[name]), float(b[name])) for a, b in zip(rows, others, strict=True))
    return f"{interval([100 * (one / other - 1) for one, other in pairs], 1)}%"


def _train(claim: Comparison, out: Path, row: Row, data: str) -> None:
    """Train or resume a run, unless it has finished."""
    if (out / "result.json").exists():
        return
    if (out / "checkpoints" / "last.ckpt").exists():
        train([f"resume={out}"])
    else:
        train([*claim.settings(row["arm"], row["seed"], data), f"out={out}"])


def _trained(claim: Comparison, out: Path, row: Row, data: str) -> tuple[RoutedModule, list[Batch]]:
    """A trained network, and its test batches."""
    run = Run(compose(claim.settings(row["arm"], row["seed"], data)))
    saved = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    run.module.load_state_dict(saved["state_dict"])
    test, size = run.data.test, run.config.trainer.batch_size
    batches = [
        {name: values[start : start + size] for name, values in test.items()}
        for start in range(0, len(test["y"]), size)
    ]
    return run.module.eval(), [run.module.prepare_batch(batch) for batch in batches]


@torch.inference_mode()
def _speeds(networks: dict[str, tuple[RoutedModule, list[Batch]]]) -> dict[str, float]:
    """Test samples per second of every arm: medians of passes that take turns.

    The whole network is timed; reading and collating are not.
    """
    seconds: dict[str, list[float]] = {arm: [] for arm in networks}
    for _ in range(1 + PASSES):  # the first warms up and does not count
        for arm, (module, batches) in networks.items():
            start = time.perf_counter()
            for batch in batches:
                module.backbone(batch)
            seconds[arm].append(time.perf_counter() - start)
    samples = {arm: sum(len(b["y"]) for b in batches) for arm, (_, batches) in networks.items()}
    return {arm: samples[arm] / median(taken[1:]) for arm, taken in seconds.items()}
