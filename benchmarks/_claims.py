"""What tests of claims share: every arm trained for every seed, and inference timed in turns."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from _runs import HERE, Row, config_hash, interval, read_rows, result_of, write_rows

from tasks import Batch
from tasks.config.compose import compose
from tasks.loading.batches import InOrder
from tasks.running.run import Run
from tasks.training.module import RoutedModule

PASSES = 9


@dataclass(frozen=True)
class Claim:
    """Arms that are compared.

    Attributes:
        rows: where the numbers are kept, one row per arm and seed.
        arms: label, and what to add to ``python -m tasks``.
        seeds: the same for every arm.
        data: what a configuration is told of the data; its place is no part of it.
        figures: from a result to the numbers to keep.
    """

    rows: Path
    arms: dict[str, str]
    seeds: Sequence[int]
    data: str
    figures: Callable[[Row], Row]

    def settings(self, arm: str, seed: int, data: str | None = None) -> list[str]:
        """Of one run; ``data`` is where they really are."""
        place = self.data if data is None else data
        return [*self.arms[arm].split(), f"seed={seed}", f"task.data.path={place}"]

    def kept(self) -> list[Row]:
        """The rows whose configuration is still what it was."""
        return [
            row
            for row in read_rows(self.rows)
            if row["arm"] in self.arms
            and row["config"] == config_hash(self.settings(row["arm"], int(row["seed"])))
        ]

    def of(self, arm: str) -> list[Row]:
        """The rows of an arm by seed."""
        return sorted((r for r in self.kept() if r["arm"] == arm), key=lambda r: int(r["seed"]))


def run_missing(claim: Claim, runs: Path, data: str) -> None:
    """Train what is missing, seed by seed, and time all arms of a seed together.

    Args:
        claim: what is compared.
        runs: folder that keeps the runs, which are taken up again from there.
        data: where the data is.
    """
    rows = claim.kept()
    for seed in claim.seeds:
        if {row["arm"] for row in rows if int(row["seed"]) == seed} == set(claim.arms):
            continue
        for arm in claim.arms:
            _train(claim, runs, arm, seed, data)
        rows = [row for row in rows if int(row["seed"]) != seed]
        per_second = _speeds(claim, runs, seed, data)
        for arm in claim.arms:
            config = config_hash(claim.settings(arm, seed))
            found = claim.figures(result_of(runs / config))
            speed = round(per_second[arm], 1)
            rows.append({"arm": arm, "seed": seed, "config": config, **found, "per_second": speed})
        write_rows(claim.rows, rows)


def change(rows: Sequence[Row], others: Sequence[Row], name: str) -> str:
    """Relative difference in percent, paired by seed: mean and Student's 95% interval."""
    pairs = ((float(a[name]), float(b[name])) for a, b in zip(rows, others, strict=True))
    return f"{interval([100 * (one / other - 1) for one, other in pairs], 1)}%"


def _train(claim: Claim, runs: Path, arm: str, seed: int, data: str) -> None:
    """The command, unless it has run to its end already."""
    out = runs / config_hash(claim.settings(arm, seed))
    if (out / "result.json").exists():
        return
    started = (out / "checkpoints" / "last.ckpt").exists()
    what = [f"resume={out}"] if started else [*claim.settings(arm, seed, data), f"out={out}"]
    command = [sys.executable, "-m", "tasks", *what]
    subprocess.run(command, check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)


@torch.inference_mode()
def _speeds(claim: Claim, runs: Path, seed: int, data: str) -> dict[str, float]:
    """Test samples per second of every arm: medians of passes that take turns.

    All that the network does is timed, reading and collating is not.
    """
    ready = {arm: _trained(claim, runs, arm, seed, data) for arm in claim.arms}
    seconds: dict[str, list[float]] = {arm: [] for arm in claim.arms}
    for _ in range(1 + PASSES):  # the first, which warms up, does not count
        for arm, (module, batches) in ready.items():
            start = time.perf_counter()
            for batch in batches:
                module.backbone(batch)
            seconds[arm].append(time.perf_counter() - start)
    samples = {arm: sum(len(b["y"]) for b in batches) for arm, (_, batches) in ready.items()}
    return {arm: samples[arm] / median(taken[1:]) for arm, taken in seconds.items()}


def _trained(
    claim: Claim, runs: Path, arm: str, seed: int, data: str
) -> tuple[RoutedModule, list[Batch]]:
    """An arm's network with what it learned, and the test samples as it takes them."""
    run = Run(compose(claim.settings(arm, seed, data)))
    out = runs / config_hash(claim.settings(arm, seed))
    saved = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)
    run.module.load_state_dict(saved["state_dict"])
    test = InOrder(run.data.test, run.config.trainer.batch_size)
    return run.module.eval(), [run.module.prepare_batch(batch) for batch in test]
