"""Comparison of the arms of a suite: normalized scores, aggregates, ranks and verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from ..config.arms import CONTROLS
from ..config.confirm import MIN_SEEDS, SeedPlan
from ..config.objectives import Objective
from ..statistics import (
    Aggregate,
    CompleteScores,
    CriticalDifference,
    NormalizedScores,
    SuiteScores,
    SuiteVerdicts,
    Verdicts,
    Word,
    aggregate_improvement,
    aggregate_iqm,
    compare_suite,
    complete_scores,
    critical_difference,
    normalize,
    smallest_detectable_difference,
)
from .suite_dir import Suite

#: Controls that do not learn to route, by preference: normalized scores are 0 at the first.
BLIND = ("random_fixed", "uniform")
#: The control where normalized scores are 1, unless it is no better than 0.
DENSE = "iso_parameter"

NO_VERDICTS = Verdicts({}, {}, ())


@dataclass(frozen=True)
class SuiteComparison:
    """Scores of a suite, normalized, ranked and tested.

    Attributes:
        suite: the results.
        seeds: those that aggregates are computed over; an arm that lacks one in a benchmark has a
            gap there.
        plan: of the looks of verdicts, which may have further seeds.
        complete: main objectives of complete arms, and gaps.
        tested: main objectives of complete arms on all seeds of the plan.
        normalized: scores with 0 at the control; empty without one, or with too few seeds.
        verdicts: of all pairs; None with fewer than 3 seeds.
        iqm: interquartile mean of normalized scores by arm.
        improvement: probability that a run outscores one of the control, by arm.
        ranks: None with fewer than 3 seeds, or than 2 arms that all benchmarks have.
    """

    suite: Suite
    seeds: tuple[int, ...]
    plan: SeedPlan
    complete: CompleteScores
    tested: SuiteScores
    normalized: NormalizedScores
    verdicts: SuiteVerdicts | None
    iqm: Mapping[str, Aggregate]
    improvement: Mapping[str, Aggregate]
    ranks: CriticalDifference | None

    @cached_property
    def blind(self) -> tuple[str, ...]:
        """Arms that route without regard to content, the control first."""
        return tuple(filter(None, (find_control(self.suite, name) for name in BLIND)))

    @property
    def control(self) -> str | None:
        """The arm that marks and probabilities of improvement refer to."""
        return self.blind[0] if self.blind else None

    @cached_property
    def routers(self) -> tuple[str, ...]:
        """Arms to choose from: all but controls."""
        without = {*self.blind, *self.suite.controls}
        return tuple(label for label in self.suite.labels if label not in without)

    @cached_property
    def means(self) -> dict[str, float]:
        """Mean normalized score over benchmarks of the arms that all normalized ones have."""
        scores = self.normalized.scores
        return {
            label: fmean(fmean(each[label].values()) for each in scores.values())
            for label in self.suite.labels
            if scores and all(label in each for each in scores.values())
        }

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All arms: by mean normalized score, then those without one."""
        return tuple(sorted(self.suite.labels, key=lambda label: -self.means.get(label, -1e300)))

    @cached_property
    def detectable(self) -> dict[str, float | None]:
        """Smallest true difference that each benchmark with verdicts finds with a power of 80 %."""
        return {
            name: smallest_detectable_difference(scores, self.plan)
            for name, scores in self.tested.items()
            if self.verdicts is not None and len(scores) > 1
        }

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Benchmarks that the aggregates are computed over."""
        return tuple(self.normalized.raw)

    def mean_in(self, benchmark: str, label: str) -> float | None:
        """Mean score of an arm in a benchmark, in its unit; None for a gap."""
        runs = self.complete.scores[benchmark].get(label)
        return fmean(runs.values()) if runs else None

    def gap(self, benchmark: str, label: str) -> str:
        """The reason for which an arm has no complete results in a benchmark; empty if it has."""
        if label in self.complete.scores[benchmark]:
            return ""
        return self.complete.gaps.get((label, benchmark), "no runs")

    @property
    def gaps(self) -> list[tuple[str, str, str]]:
        """Benchmark, arm and reason of each gap."""
        return [
            (benchmark.name, label, reason)
            for benchmark in self.suite.benchmarks
            for label in self.suite.labels
            if (reason := self.gap(benchmark.name, label))
        ]

    def verdicts_in(self, benchmark: str) -> Verdicts:
        """Verdicts of a benchmark, as in its own report; none with fewer than 3 seeds."""
        return self.verdicts.benchmarks[benchmark].verdicts if self.verdicts else NO_VERDICTS

    def word(self, label: str, other: str) -> Word:
        """Verdict over the suite on an arm compared with another."""
        return self.verdicts.suite.verdicts.of(label, other).word if self.verdicts else Word.TOO_FEW

    def word_in(self, benchmark: str, label: str, other: str) -> tuple[Word, bool]:
        """Verdict in a benchmark, and whether correction over all benchmarks gives the same."""
        if self.verdicts is None:
            return Word.TOO_FEW, False
        word = self.verdicts_in(benchmark).of(label, other).word
        strict = self.verdicts.strict[benchmark]
        turned = {Word.BETTER: Word.WORSE, Word.WORSE: Word.BETTER}.get(word, word)
        return word, strict.get((label, other)) == word or strict.get((other, label)) == turned


def comparison_of(suite: Suite) -> SuiteComparison:
    """Compare the arms of a suite on the main objective of each benchmark."""
    objectives, plan = suite.objectives(), suite.benchmarks[0].sweep.plan
    first_seed = int(suite.benchmarks[0].sweep.config["confirm"]["first_seed"])
    seeds = range(first_seed, first_seed + plan.most)
    reasons = {
        (label, each.name): reason
        for each in suite.benchmarks
        for label, reason in each.gaps.items()
    }
    scores = main_scores(suite)
    complete = complete_scores(scores, dict.fromkeys(objectives, seeds[: plan.first]), reasons)
    tested = {
        name: {arm: {s: v for s, v in scores[name][arm].items() if s in seeds} for arm in own}
        for name, own in complete.scores.items()
    }
    has_verdicts = plan.most >= MIN_SEEDS
    zero = next(filter(None, (find_control(suite, name) for name in BLIND)), None)
    normalized = _normalized(complete.scores, objectives, zero, find_control(suite, DENSE) or "")
    margins = {each.name: each.sweep.margin for each in suite.benchmarks}
    return SuiteComparison(
        suite=suite,
        seeds=tuple(seeds[: plan.first]),
        plan=plan,
        complete=complete,
        tested=tested,
        normalized=normalized,
        verdicts=compare_suite(tested, objectives, margins, normalized.scales, plan)
        if has_verdicts
        else None,
        iqm=aggregate_iqm(normalized),
        improvement={
            label: found
            for label in suite.labels
            if zero is not None and label != zero
            if (found := aggregate_improvement(complete.scores, objectives, label, zero)).benchmarks
        },
        ranks=critical_difference(complete.scores, objectives) if has_verdicts else None,
    )


def main_scores(suite: Suite) -> SuiteScores:
    """The main objective of each benchmark by arm and seed."""
    objectives = suite.objectives()
    found = {metric: suite.scores(metric) for metric in {o.metric for o in objectives.values()}}
    return {name: found[objective.metric][name] for name, objective in objectives.items()}


def find_control(suite: Suite, name: str) -> str | None:
    """The label of the arm that is a control; None if the suite does not have it."""
    override = CONTROLS[name][1]
    arms = suite.protocol["arms"]
    return next((each for each in suite.labels if override in arms[each]["overrides"]), None)


def _normalized(
    scores: SuiteScores, objectives: Mapping[str, Objective], zero: str | None, one: str
) -> NormalizedScores:
    if zero is None:
        reason = f"the suite has neither {' nor '.join(BLIND)}"
        return NormalizedScores({}, {}, dict.fromkeys(scores, reason))
    return normalize(scores, objectives, zero, one)
