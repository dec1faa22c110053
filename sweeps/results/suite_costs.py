"""Load balance and compute of the arms of a suite, over its benchmarks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log
from statistics import fmean
from typing import Any

from ..config.objectives import Objective, number_at
from ..statistics import CriticalDifference, Interval, critical_difference, mean_interval
from ..statistics.intervals import UNKNOWN
from ..statistics.verdicts import MIN_SEEDS
from .suite_comparison import DENSE, SuiteComparison, find_control

Run = Mapping[str, Any]


@dataclass(frozen=True)
class CostMetric:
    """A number of a run, less is better.

    Attributes:
        metric: its column in tables.
        title: its name on the page.
        read: its value in a ``result.json``; None if a run does not have it.
        relative: whether benchmarks have different scales, so that ratios to an arm are averaged.
    """

    metric: str
    title: str
    read: Callable[[Run], float | None]
    relative: bool


@dataclass(frozen=True)
class CostAggregate:
    """Mean over benchmarks, geometric for ratios, with its 95 % interval over seeds.

    ``complete`` if it is over all benchmarks that have the metric.
    """

    value: float
    interval: Interval
    complete: bool


@dataclass(frozen=True)
class Cost:
    """One cost of all arms.

    Attributes:
        metric: what it is.
        reference: the arm that ratios are relative to; None for a metric with one scale.
        arms: by label; arms without the metric, as dense ones have no load, are missing.
        ranks: of the arms that all benchmarks have; None with fewer than 3 seeds.
    """

    metric: CostMetric
    reference: str | None
    arms: Mapping[str, CostAggregate]
    ranks: CriticalDifference | None

    @property
    def title(self) -> str:
        """The metric and, for ratios, the arm that they are relative to."""
        relative = f", relative to {self.reference}" if self.reference else ""
        return f"{self.metric.title}{relative}"


def _of_load(name: str) -> Callable[[Run], float | None]:
    """A number of the load of routed layers; None for a dense model."""

    def read(run: Run) -> float | None:
        routed = any(len(layer["load"]) > 1 for layer in run.get("layers") or ())
        return number_at(run, f"load.{name}") if routed else None

    return read


def _dead_share(run: Run) -> float | None:
    """Share of experts without any item, over all routed layers."""
    loads = [load for layer in run.get("layers") or () if len(load := layer["load"]) > 1]
    dead = sum(each == 0 for load in loads for each in load)
    return dead / sum(map(len, loads)) if loads else None


def _of_compute(name: str) -> Callable[[Run], float | None]:
    return lambda run: number_at(run, f"compute.{name}")


METRICS = (
    CostMetric("load.max_violation", "MaxVio", _of_load("max_violation"), relative=False),
    CostMetric("load.cv", "load CV", _of_load("cv"), relative=False),
    CostMetric("load.dead_share", "share of dead experts", _dead_share, relative=False),
    CostMetric("compute.flops_per_item", "FLOPs per item", _of_compute("flops_per_item"), True),
    CostMetric(
        "compute.active_parameters", "active parameters", _of_compute("active_parameters"), True
    ),
    CostMetric("compute.train_seconds", "training time", _of_compute("train_seconds"), True),
    CostMetric("compute.step_seconds", "time of a step", _of_compute("step_seconds"), True),
    CostMetric("compute.peak_memory_bytes", "peak memory", _of_compute("peak_memory_bytes"), True),
    CostMetric(
        "compute.cpu_energy_joules", "energy of CPUs", _of_compute("cpu_energy_joules"), True
    ),
    CostMetric(
        "compute.gpu_energy_joules", "energy of GPUs", _of_compute("gpu_energy_joules"), True
    ),
)


def costs_of(comparison: SuiteComparison) -> list[Cost]:
    """All costs that runs of the suite have.

    Ratios are to the dense control with equal parameters, or without it to the first arm, on the
    same seed.
    """
    suite = comparison.suite
    reference = find_control(suite, DENSE) or suite.labels[0]
    found = (_cost(comparison, metric, reference) for metric in METRICS)
    return [cost for cost in found if cost.arms]


def _cost(comparison: SuiteComparison, metric: CostMetric, reference: str) -> Cost:
    values = _values(comparison, metric)
    if metric.relative:
        values = {name: _log_ratios(arms, reference) for name, arms in values.items()}
    values = {name: arms for name, arms in values.items() if arms}
    found = {}
    for label in comparison.suite.labels:
        own = [arms[label] for arms in values.values() if label in arms]
        if own:
            by_seed = [fmean(each[seed] for each in own) for seed in comparison.seeds]
            found[label] = _aggregate(by_seed, metric.relative, len(own) == len(values))
    minimize = dict.fromkeys(values, Objective(metric.metric, "minimize"))
    enough = len(comparison.seeds) >= MIN_SEEDS
    ranks = critical_difference(values, minimize) if enough else None
    return Cost(metric, reference if metric.relative else None, found, ranks)


def _values(
    comparison: SuiteComparison, metric: CostMetric
) -> dict[str, dict[str, dict[int, float]]]:
    """The metric by benchmark, arm and seed, of complete arms whose every run has it."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for benchmark in comparison.suite.benchmarks:
        found[benchmark.name] = {}
        for arm in benchmark.sweep.arms:
            if arm.label not in comparison.complete.scores[benchmark.name]:
                continue
            read = {s: metric.read(run) for s, run in zip(arm.seeds, arm.runs, strict=True)}
            known = {s: v for s in comparison.seeds if (v := read[s]) is not None}
            if len(known) == len(comparison.seeds):
                found[benchmark.name][arm.label] = known
    return found


def _log_ratios(
    arms: Mapping[str, Mapping[int, float]], reference: str
) -> dict[str, dict[int, float]]:
    """Logarithms of ratios to an arm on the same seed; empty without the arm."""
    base = arms.get(reference, {})
    return {
        label: {seed: log(value / base[seed]) for seed, value in own.items()}
        for label, own in arms.items()
        if base and min(*own.values(), *base.values()) > 0
    }


def _aggregate(by_seed: list[float], relative: bool, complete: bool) -> CostAggregate:
    mean, interval = fmean(by_seed), mean_interval(by_seed) if len(by_seed) > 1 else UNKNOWN
    if not relative:
        return CostAggregate(mean, interval, complete)
    return CostAggregate(exp(mean), Interval(exp(interval.low), exp(interval.high)), complete)
