"""Where each arm of a sweep stands: its confirmed numbers, its rank, and what is sure of it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import nan
from statistics import fmean

from ..config.objectives import Objective
from ..statistics.intervals import Interval, bootstrap_interval, interquartile_mean, mean_interval
from ..statistics.paired_tests import probability_of_improvement
from ..statistics.pareto import pareto
from ..statistics.verdicts import TOO_FEW, Verdict, Verdicts, Word, judge
from .sweep_dir import Arm, Sweep

#: What is told of every arm beside its objectives.
COSTS = (
    "load.max_violation",
    "compute.flops_per_item",
    "compute.parameters",
    "compute.active_parameters",
    "compute.train_seconds",
)

#: The first arm, where all others are worse, and where some may not be.
BEST, LEADS = "best", "leads"


@dataclass(frozen=True)
class Standing:
    """An arm among the others.

    Attributes:
        arm: with its runs.
        rank: from 1, by the mean of the main objective; None while its runs are incomplete.
        scores: its main objective by seed.
        mean: of the scores; NaN without any.
        interval: of the mean, 95 %.
        bootstrap: the same by resampling, too short for few seeds.
        iqm: interquartile mean.
        verdict: against the first.
        says: its word; ``best`` or ``leads`` for the first itself.
        group: letters; arms that share one were not told apart.
        improvement: chance that a run of it beats a run of the first.
        means: of every objective and cost, by metric; NaN where runs have none.
        front: not dominated by another confirmed arm, and within all constraints.
    """

    arm: Arm
    rank: int | None
    scores: Mapping[int, float]
    mean: float
    interval: Interval
    bootstrap: Interval
    iqm: float
    verdict: Verdict
    says: str
    group: str
    improvement: float
    means: Mapping[str, float]
    front: bool


def verdicts_of(sweep: Sweep, metric: str | None = None) -> Verdicts:
    """What is said of every pair of complete arms, on the main objective or another.

    The margin is one of scores: on another metric than the main one no arms are called
    equivalent.
    """
    main = sweep.objectives[0]
    objective = main
    if metric is not None:
        objective = next(each for each in sweep.objectives if each.metric == metric)
    tested = {arm.label: arm.numbers(objective.metric) for arm in _complete(sweep, objective)}
    return judge(tested, objective, sweep.margin if objective == main else 0.0)


def standings(sweep: Sweep) -> list[Standing]:
    """All arms, best first; those whose runs are incomplete come last, without a rank."""
    main = sweep.objectives[0]
    scores = {arm.label: arm.numbers(main.metric) for arm in sweep.arms}
    ranked = sorted(
        _complete(sweep, main), key=lambda arm: main.sign * _mean(scores[arm.label].values())
    )
    ranks = {arm.label: place for place, arm in enumerate(ranked, start=1)}
    verdicts = verdicts_of(sweep)
    leader = ranked[0].label if ranked else ""
    front = _front(sweep)
    rest = [arm for arm in sweep.arms if arm.label not in ranks]

    def standing(arm: Arm) -> Standing:
        own = scores[arm.label]
        values = list(own.values())
        verdict = verdicts.of(arm.label, leader)
        return Standing(
            arm=arm,
            rank=ranks.get(arm.label),
            scores=own,
            mean=_mean(values),
            interval=mean_interval(values),
            bootstrap=bootstrap_interval(values),
            iqm=interquartile_mean(values),
            verdict=verdict,
            says=_lead(verdicts, ranks) if arm.label == leader else verdict.word.value,
            group=verdicts.groups.get(arm.label, ""),
            improvement=_improvement(own, scores.get(leader, {}), main),
            means=_means(sweep, arm),
            front=front.get(arm.label, False),
        )

    return [standing(arm) for arm in (*ranked, *rest)]


def _complete(sweep: Sweep, objective: Objective) -> list[Arm]:
    """Arms whose planned runs are all there, with a number each."""
    return [
        arm
        for arm in sweep.arms
        if arm.runs and len(arm.numbers(objective.metric)) >= max(arm.planned, len(arm.runs))
    ]


def _lead(verdicts: Verdicts, ranks: Mapping[str, int]) -> str:
    """What is said of the first."""
    leader, *others = ranks
    if not verdicts.seeds or not others:
        return TOO_FEW.word.value if not verdicts.seeds else LEADS
    words = {verdicts.of(leader, other).word for other in others}
    return BEST if words == {Word.BETTER} else LEADS


def _improvement(own: Mapping[int, float], best: Mapping[int, float], main: Objective) -> float:
    signed = [[-main.sign * value for value in each.values()] for each in (own, best)]
    return probability_of_improvement(*signed)


def metrics_of(sweep: Sweep) -> list[str]:
    """Objectives and costs, each once, the main objective first."""
    return list(dict.fromkeys([*(each.metric for each in sweep.objectives), *COSTS]))


def _means(sweep: Sweep, arm: Arm) -> dict[str, float]:
    return {metric: _mean(arm.numbers(metric).values()) for metric in metrics_of(sweep)}


def _front(sweep: Sweep) -> dict[str, bool]:
    """The Pareto set of confirmed means, by label."""
    arms = _complete(sweep, sweep.objectives[0])
    if not arms:
        return {}
    values = [[_mean(arm.numbers(o.metric).values()) for o in sweep.objectives] for arm in arms]
    allowed = [
        all(_kept(arm, text) for text in sweep.config.get("constraints") or ()) for arm in arms
    ]
    found = pareto(values, [objective.sign for objective in sweep.objectives], allowed)
    return {arm.label: on for arm, on in zip(arms, found, strict=True)}


def _kept(arm: Arm, constraint: str) -> bool:
    metric, sign, bound = re.split(r"\s*(<=|>=)\s*", constraint.strip(), maxsplit=1)
    value = _mean(arm.numbers(metric).values())
    return value <= float(bound) if sign == "<=" else value >= float(bound)


def _mean(values: Collection[float]) -> float:
    return fmean(values) if values else nan
