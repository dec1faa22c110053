"""Verdicts over a suite: pairwise comparison of arms in several benchmarks at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

from ..config.confirm import SeedPlan
from ..config.objectives import Objective
from .paired_tests import Pair
from .sequential import (
    Names,
    SequentialVerdicts,
    compare_sequentially,
    decide_in_looks,
    first_seeds,
)
from .suite_scores import SuiteScores, all_arms, shared_arms
from .verdicts import LEVEL, Verdicts, Word, letters

#: Differences are turned so that larger is better.
LARGER_IS_BETTER = Objective("normalized", "maximize")

#: A benchmark and a pair of its arms.
Cell = tuple[str, Names]


@dataclass(frozen=True)
class SuiteVerdicts:
    """Verdicts of all pairs over the suite and in each benchmark.

    Attributes:
        suite: of the mean normalized difference over benchmarks, positive if the first arm is
            better. Only arms that all benchmarks have are in groups.
        shared: benchmarks over which each pair is compared: those that both arms have.
        benchmarks: of each benchmark alone, in units of its score.
        strict: results for the first arm by benchmark and pair, with one correction over all pairs
            of all benchmarks.
    """

    suite: SequentialVerdicts
    shared: Mapping[Names, tuple[str, ...]]
    benchmarks: Mapping[str, SequentialVerdicts]
    strict: Mapping[str, Mapping[Names, Word]]

    @property
    def families(self) -> tuple[str, ...]:
        """Statements on the chance of any false difference, one for each set of verdicts."""
        pairs, cells = len(self.shared), sum(map(len, self.strict.values()))
        level = f"at most {LEVEL:.0%}"
        return (
            f"suite: {level} for any of its {pairs} pairs",
            f"each benchmark: {level} for any of its pairs, not for all benchmarks together",
            f"strict: {level} for any of the {cells} pairs of all benchmarks together",
        )


def compare_suite(
    scores: SuiteScores,
    objectives: Mapping[str, Objective],
    margins: Mapping[str, float],
    scales: Mapping[str, float],
    plan: SeedPlan,
) -> SuiteVerdicts:
    """Compare all pairs of arms over a suite and in each benchmark, at each look of a plan.

    A pair's difference over the suite is the mean over benchmarks of its paired differences, in
    units of ``scales``. Benchmarks are fixed and seeds random: the statement is about these
    benchmarks, not about others. Variances of the benchmarks are moderated as in `compare_all` and
    add up; the degrees of freedom are those of Satterthwaite (1946, doi 10.2307/3002019). Looks,
    correction and equivalence are those of `compare_sequentially`; ``SeedPlan.fixed(n)`` compares
    once, on the first n seeds. A pair is tested at a look if both arms have its seeds in every
    benchmark that they share.

    The suite, each benchmark, and all benchmarks together (``strict``) are separate families:
    ``SuiteVerdicts.families`` states what each level covers.

    Args:
        scores: of complete results; an arm may be absent from a benchmark.
        margins: the largest irrelevant difference by benchmark, in units of its score. That of the
            suite is their mean in units of ``scales``.
        scales: difference that counts as 1, by benchmark, as of `NormalizedScores`; benchmarks
            without one have no part in the suite's verdicts.

    >>> x, y = {1: 0.90, 2: 0.92, 3: 0.91}, {1: 0.70, 2: 0.71, 3: 0.71}
    >>> low, high = {1: 1.01, 2: 1.03, 3: 1.02}, {1: 1.41, 2: 1.44, 3: 1.45}
    >>> found = compare_suite(
    ...     {"images": {"x": x, "y": y}, "text": {"x": low, "y": high}},
    ...     {"images": Objective("a", "maximize"), "text": Objective("b", "minimize")},
    ...     margins={"images": 0.01, "text": 0.01},
    ...     scales={"images": 0.4, "text": 0.8},
    ...     plan=SeedPlan.fixed(3),
    ... )
    >>> verdict = found.suite.verdicts.of("x", "y")
    >>> verdict.word, round(verdict.pair.difference, 2)
    (<Word.BETTER: 'better'>, 0.51)
    """
    arms = all_arms(scores)
    ordered = {name: {a: each[a] for a in arms if a in each} for name, each in scores.items()}
    benchmarks = {
        name: compare_sequentially(each, objectives[name], margins[name], plan)
        for name, each in ordered.items()
    }
    names = list(combinations(arms, 2))
    shared = {
        pair: tuple(name for name in scales if set(pair) <= ordered[name].keys()) for pair in names
    }
    units = {name: -objectives[name].sign / scale for name, scale in scales.items()}
    relative = {name: margins[name] / scale for name, scale in scales.items()}
    suite_margins = {
        pair: fmean(relative[name] for name in each) if each else 0.0
        for pair, each in shared.items()
    }

    def suite_at(pairs: Collection[Names], count: int) -> dict[Names, Pair]:
        found = {
            name: first_seeds(
                ordered[name], [pair for pair in pairs if name in shared[pair]], count
            )
            for name in scales
        }
        return {
            pair: pool([scaled(found[name][pair], units[name]) for name in shared[pair]])
            for pair in pairs
            if shared[pair] and all(pair in found[name] for name in shared[pair])
        }

    found, seeds = decide_in_looks(names, suite_at, LARGER_IS_BETTER, suite_margins, plan)
    complete = shared_arms({name: ordered[name] for name in scales})
    means = {
        arm: fmean(units[name] * fmean(ordered[name][arm].values()) for name in scales)
        for arm in (complete if scales else ())
    }
    best_first = sorted(means, key=means.__getitem__, reverse=True)
    ranked = {pair: verdict for pair, verdict in found.items() if means.keys() >= set(pair)}
    groups = {**dict.fromkeys(arms, ""), **(letters(best_first, ranked) if ranked else {})}
    return SuiteVerdicts(
        SequentialVerdicts(Verdicts(found, groups, ()), seeds, plan),
        shared,
        benchmarks,
        strict_words(ordered, objectives, margins, plan),
    )


def strict_words(
    scores: SuiteScores,
    objectives: Mapping[str, Objective],
    margins: Mapping[str, float],
    plan: SeedPlan,
) -> dict[str, dict[Names, Word]]:
    """Results of all pairs of all benchmarks, corrected together."""
    cells = [(name, pair) for name, each in scores.items() for pair in combinations(each, 2)]

    def pairs_at(open_cells: Collection[Cell], count: int) -> dict[Cell, Pair]:
        return {
            (name, pair): scaled(difference, -objectives[name].sign)
            for name, each in scores.items()
            for pair, difference in first_seeds(
                each, [pair for other, pair in open_cells if other == name], count
            ).items()
        }

    limits = {cell: margins[cell[0]] for cell in cells}
    verdicts, _ = decide_in_looks(cells, pairs_at, LARGER_IS_BETTER, limits, plan)
    found: dict[str, dict[Names, Word]] = {name: {} for name in scores}
    for (name, pair), verdict in verdicts.items():
        found[name][pair] = verdict.word
    return found


def scaled(pair: Pair, factor: float) -> Pair:
    """A pair in other units.

    >>> scaled(Pair((1.0, 3.0), 2.0, 1.0), -0.5)
    Pair(differences=(-0.5, -1.5), variance=0.5, degrees=1.0, prior=0.0)
    """
    differences = tuple(factor * each for each in pair.differences)
    return replace(pair, differences=differences, variance=factor**2 * pair.variance)


def pool(pairs: Sequence[Pair]) -> Pair:
    """Mean over benchmarks of the differences of a pair, on the same number of seeds in each.

    The variances of the mean add up; their degrees of freedom are those of Satterthwaite:
    ``(sum v)² / sum(v² / d)``.

    >>> pool([Pair((1.0, 2.0, 3.0), 1.0, 2.0), Pair((0.0, 1.0, 2.0), 1.0, 2.0)])
    Pair(differences=(0.5, 1.5, 2.5), variance=0.5, degrees=4.0, prior=2.0)
    """
    differences = tuple(map(fmean, zip(*(pair.differences for pair in pairs), strict=True)))
    total = sum(pair.variance for pair in pairs)
    least = float(len(differences) - 1)
    squares = sum(pair.variance**2 / pair.degrees for pair in pairs)
    degrees = total**2 / squares if squares else least
    return Pair(differences, total / len(pairs) ** 2, degrees, degrees - least)
