"""Ranking of the arms of a sweep: confirmed results, ranks and verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..config.objectives import Objective, parse_constraint
from ..statistics.intervals import Interval, bootstrap_interval, interquartile_mean, mean_interval
from ..statistics.paired_tests import probability_of_improvement
from ..statistics.pareto import pareto_front
from ..statistics.sequential import SequentialVerdicts, compare_sequentially
from ..statistics.verdicts import TOO_FEW, Verdict, Verdicts, Word
from .sweep_dir import ArmResults, Sweep

#: Metrics reported for every arm in addition to the objectives.
COSTS = (
    "load.max_violation",
    "compute.flops_per_item",
    "compute.parameters",
    "compute.active_parameters",
    "compute.train_seconds",
)

#: Score of the weights of the best validation, reported next to that of the last weights.
BEST_VALIDATION = "score.best.value"

#: Verdict on the first arm: all others are worse, or some may not be.
BEST, LEADS = "best", "leads"


@dataclass(frozen=True)
class Standing:
    """An arm in the ranking.

    Attributes:
        rank: from 1, by the mean of the main objective; None while its runs are incomplete.
        scores: its main objective by seed.
        mean, iqm: mean and interquartile mean of the scores; NaN without any.
        interval: of the mean, 95 %.
        bootstrap: the same by the bootstrap, too short for few seeds.
        verdict: comparison with the first arm.
        says: the verdict as text; ``best`` or ``leads`` for the first arm itself.
        group: letters; arms that share one are not significantly different.
        improvement: probability that a run outscores a run of the first arm.
        means: of every objective and cost, and of the score of the best validation, by metric; NaN
            if runs do not have it.
        front: whether it satisfies all constraints and no confirmed arm dominates it.
    """

    arm: ArmResults
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
    """Compare all pairs of complete arms on the main objective or another one.

    The margin applies to the main objective: on other metrics no arms are called equivalent.
    Verdicts are those at the looks of the sweep, so that they keep their level.
    """
    return decisions_of(sweep, metric).verdicts


def decisions_of(sweep: Sweep, metric: str | None = None) -> SequentialVerdicts:
    """The verdicts of a sweep, and the pairs that wait for further seeds, as in `verdicts_of`."""
    main = sweep.objectives[0]
    objective = next(o for o in sweep.objectives if metric in (None, o.metric))
    margin = sweep.margin if objective == main else 0.0
    tested = compared_scores(sweep, objective)
    return compare_sequentially(tested, objective, margin, sweep.plan)


def compared_scores(sweep: Sweep, objective: Objective) -> dict[str, dict[int, float]]:
    """An objective of complete arms by label, then by seed."""
    return {arm.label: arm.numbers(objective.metric) for arm in _complete(sweep, objective)}


def standings(sweep: Sweep, verdicts: Verdicts | None = None) -> list[Standing]:
    """All arms, best first; arms with incomplete runs come last, without a rank.

    Args:
        verdicts: of the sweep, if they are known.
    """
    verdicts = verdicts_of(sweep) if verdicts is None else verdicts
    main = sweep.objectives[0]
    scores = {arm.label: arm.numbers(main.metric) for arm in sweep.arms}
    ranked = sorted(_complete(sweep, main), key=lambda arm: main.sign * arm.mean(main.metric))
    ranks = {arm.label: rank for rank, arm in enumerate(ranked, start=1)}
    rest = [arm for arm in sweep.arms if arm.label not in ranks]
    front = _front(sweep)
    leader = ranked[0].label if ranked else ""
    best = [-main.sign * value for value in scores.get(leader, {}).values()]

    def standing(arm: ArmResults) -> Standing:
        values = list(scores[arm.label].values())
        verdict = verdicts.of(arm.label, leader)
        return Standing(
            arm=arm,
            rank=ranks.get(arm.label),
            scores=scores[arm.label],
            mean=arm.mean(main.metric),
            interval=mean_interval(values),
            bootstrap=bootstrap_interval(values),
            iqm=interquartile_mean(values),
            verdict=verdict,
            says=_lead(verdicts, ranks) if arm.label == leader else verdict.word.value,
            group=verdicts.groups.get(arm.label, ""),
            improvement=probability_of_improvement([-main.sign * v for v in values], best),
            means={name: arm.mean(name) for name in metrics_of(sweep)},
            front=front.get(arm.label, False),
        )

    return [standing(arm) for arm in (*ranked, *rest)]


def _complete(sweep: Sweep, objective: Objective) -> list[ArmResults]:
    """Arms that have all planned runs, with a number in each."""
    return [
        arm
        for arm in sweep.arms
        if arm.runs and len(arm.numbers(objective.metric)) >= max(arm.planned, len(arm.runs))
    ]


def _lead(verdicts: Verdicts, ranks: Mapping[str, int]) -> str:
    """Verdict on the first arm as text."""
    leader, *others = ranks
    if not verdicts.seeds:
        return TOO_FEW.word.value
    words = {verdicts.of(leader, other).word for other in others}
    return BEST if words == {Word.BETTER} else LEADS


def metrics_of(sweep: Sweep) -> list[str]:
    """The main objective, the score of the best validation, other objectives and costs."""
    main, *others = (each.metric for each in sweep.objectives)
    return list(dict.fromkeys([main, BEST_VALIDATION, *others, *COSTS]))


def _front(sweep: Sweep) -> dict[str, bool]:
    """The Pareto set of confirmed means, by label."""
    arms = _complete(sweep, sweep.objectives[0])
    values = [[arm.mean(o.metric) for o in sweep.objectives] for arm in arms]
    bounds = [parse_constraint(text) for text in sweep.config.get("constraints") or ()]
    allowed = [all(b.violation(arm.mean(b.metric)) <= 0 for b in bounds) for arm in arms]
    found = pareto_front(values, [objective.sign for objective in sweep.objectives], allowed)
    return {arm.label: on for arm, on in zip(arms, found, strict=True)}
