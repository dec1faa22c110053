"""Effective speed-ups of the arms of a suite: the training that they need to match the control."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...config.objectives import number_at
from ...results.suite_comparison import SuiteComparison
from ...results.suite_dir import Benchmark
from ...statistics.speedup import Curves, Speedup, effective_speedup
from ..logs import read_log

#: Scores in validation by step.
Points = Mapping[int, float]
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Speedups:
    """Those of all arms in one unit of training.

    Attributes:
        unit: what training is counted in.
        found: by benchmark and arm, without the control.
    """

    unit: str
    found: Mapping[str, Mapping[str, Speedup]]


def _one(run: Run, points: Points) -> float:
    return 1.0


def _forward_flops(run: Run, points: Points) -> float | None:
    """Forward FLOPs of a step; a backward pass costs every arm twice as much."""
    keys = ("train_seconds", "items_per_second", "flops_per_item")
    seconds, speed, flops = (number_at(run, f"compute.{key}") for key in keys)
    if seconds is None or speed is None or flops is None:
        return None
    return flops * seconds * speed / max(points)  # the last validation is of the last step


#: Cost of a step by unit, of a run and its validations; None if the run does not tell.
UNITS: Mapping[str, Callable[[Run, Points], float | None]] = {
    "training steps": _one,
    "FLOPs": _forward_flops,
}


def speedups_of(comparison: SuiteComparison) -> list[Speedups]:
    """Speed-ups over the control by unit; benchmarks that were validated once have none."""
    by_unit: dict[str, dict[str, dict[str, Speedup]]] = {unit: {} for unit in UNITS}
    for benchmark in comparison.suite.benchmarks:
        runs = _validations(comparison, benchmark)
        for unit, price in UNITS.items():
            curves = {label: _curves(own, price) for label, own in runs.items()}
            control = curves.pop(comparison.control or "", {})
            objective = benchmark.sweep.objectives[0]
            made = {arm: effective_speedup(own, control, objective) for arm, own in curves.items()}
            if known := {arm: each for arm, each in made.items() if each is not None}:
                by_unit[unit][benchmark.name] = known
    return [Speedups(unit, found) for unit, found in by_unit.items() if found]


def _validations(
    comparison: SuiteComparison, benchmark: Benchmark
) -> dict[str, dict[int, tuple[Run, Points]]]:
    """Runs with their validations by arm and seed, of complete arms."""
    column = f"val/{benchmark.sweep.score}"
    return {
        arm.label: {
            seed: (run, read_log(folder).get(column, {}))
            for seed, folder, run in zip(arm.seeds, arm.folders, arm.runs, strict=True)
            if seed in comparison.seeds
        }
        for arm in benchmark.sweep.arms
        if arm.label in comparison.complete.scores[benchmark.name]
    }


def _curves(
    runs: Mapping[int, tuple[Run, Points]], price: Callable[[Run, Points], float | None]
) -> Curves:
    """Scores over cost by seed; empty if a run has fewer than 2 or no cost."""
    found = {}
    for seed, (run, points) in runs.items():
        cost = price(run, points) if len(points) > 1 else None
        if cost is None:
            return {}
        found[seed] = [(step * cost, points[step]) for step in sorted(points)]
    return found
