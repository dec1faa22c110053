"""Scores of different benchmarks in one unit, anchored at two control arms."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

from ..config.objectives import Objective
from .paired_tests import Pair, p_different
from .suite_scores import SuiteScores
from .verdicts import LEVEL, MIN_SEEDS, Scores, compare_pairs, shared_seeds

Array = npt.NDArray[np.float64]

#: Share of the observed distance of two anchors that a resampled one keeps at least.
LEAST_DISTANCE = 0.1


@dataclass(frozen=True)
class Anchors:
    """Arms of one benchmark whose mean scores count as 0 and 1.

    ``low`` and ``high`` are these means in units of the score; with an objective to minimize,
    ``high`` is the smaller number.
    """

    zero: str
    one: str
    low: float
    high: float

    def normalize(self, value: float) -> float:
        """A score in units of the anchors' distance.

        >>> Anchors("random_fixed", "dense", 0.5, 0.75).normalize(1.0)
        2.0
        """
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class NormalizedScores:
    """Scores of a suite with 0 and 1 at two arms; larger is better in every benchmark.

    Attributes:
        raw: the scores in units of their benchmark, of normalized benchmarks alone.
        anchors: by benchmark.
        left_out: the reason for which a benchmark cannot be normalized, by benchmark.
    """

    raw: SuiteScores
    anchors: Mapping[str, Anchors]
    left_out: Mapping[str, str]

    @property
    def scores(self) -> dict[str, dict[str, dict[int, float]]]:
        """Normalized scores by benchmark, arm and seed."""
        return {
            benchmark: {
                arm: {seed: self.anchors[benchmark].normalize(v) for seed, v in runs.items()}
                for arm, runs in arms.items()
            }
            for benchmark, arms in self.raw.items()
        }

    @property
    def scales(self) -> dict[str, float]:
        """Difference that counts as 1, in units of the score, by benchmark."""
        return {name: abs(each.high - each.low) for name, each in self.anchors.items()}

    def resampled(self, count: int, rng: np.random.Generator) -> dict[str, dict[str, Array]]:
        """Normalized scores of bootstrap samples, ``(count, seeds)`` by benchmark and arm.

        Seeds are drawn with replacement in each benchmark, the same for all its arms, because arms
        are paired by seed. Anchors are computed again from each sample: their error is part of
        every interval. In a sample, the anchors' distance is at least a tenth of the observed one.
        """
        return {
            benchmark: _resample(arms, self.anchors[benchmark], count, rng)
            for benchmark, arms in self.raw.items()
        }


def _resample(
    arms: Scores, anchors: Anchors, count: int, rng: np.random.Generator
) -> dict[str, Array]:
    seeds = shared_seeds(arms)
    drawn = rng.integers(len(seeds), size=(count, len(seeds)))
    sampled = {arm: np.array([runs[seed] for seed in seeds])[drawn] for arm, runs in arms.items()}
    low = sampled[anchors.zero].mean(1, keepdims=True)
    observed = anchors.high - anchors.low
    share = (sampled[anchors.one].mean(1, keepdims=True) - low) / observed
    distance = observed * np.maximum(share, LEAST_DISTANCE)
    return {arm: (each - low) / distance for arm, each in sampled.items()}


def normalize(
    scores: SuiteScores, objectives: Mapping[str, Objective], zero: str, one: str
) -> NormalizedScores:
    """Anchor the scores of each benchmark at two arms.

    0 is the mean of ``zero``. 1 is the mean of ``one``, if that exceeds 0 by more than noise (the
    moderated paired test of `compare_all` at 5 %); else the best arm's mean, if that does, with
    Bonferroni's correction for the choice among the arms. A benchmark where neither does is left
    out: it does not separate any arm from ``zero``, and dividing by noise would let it dominate.

    Args:
        scores: of complete results; all arms of a benchmark have the same seeds.
        zero: arm such as ``random_fixed``.
        one: arm such as the dense layer with the same number of parameters.

    >>> fixed, dense = {1: 0.50, 2: 0.51, 3: 0.49}, {1: 0.90, 2: 0.92, 3: 0.88}
    >>> scores = {"images": {"fixed": fixed, "dense": dense, "topk": {1: 0.7, 2: 0.71, 3: 0.69}}}
    >>> found = normalize(scores, {"images": Objective("a", "maximize")}, "fixed", "dense")
    >>> round(found.scores["images"]["topk"][1], 2), found.anchors["images"].one
    (0.5, 'dense')
    """
    found = {
        benchmark: _find_anchors(arms, objectives[benchmark].sign, zero, one)
        for benchmark, arms in scores.items()
    }
    anchors = {name: each for name, each in found.items() if isinstance(each, Anchors)}
    left_out = {name: each for name, each in found.items() if isinstance(each, str)}
    return NormalizedScores({name: scores[name] for name in anchors}, anchors, left_out)


def _find_anchors(arms: Scores, sign: float, zero: str, one: str) -> Anchors | str:
    """The anchors of a benchmark, or the reason for which it has none."""
    if zero not in arms:
        return f"it has no results of {zero}"
    seeds = shared_seeds(arms)
    if len(seeds) < MIN_SEEDS:
        return f"it has fewer than {MIN_SEEDS} seeds"
    means = {arm: fmean(runs[seed] for seed in seeds) for arm, runs in arms.items()}
    above = _p_above(arms, zero, sign, seeds)
    if above.get(one, 1.0) <= LEVEL:
        return Anchors(zero, one, means[zero], means[one])
    best = min(means, key=lambda arm: sign * means[arm])
    if above.get(best, 1.0) <= LEVEL / len(above):
        return Anchors(zero, best, means[zero], means[best])
    return f"no arm exceeds {zero} by more than noise"


def _p_above(arms: Scores, zero: str, sign: float, seeds: tuple[int, ...]) -> dict[str, float]:
    """p-value by arm of its difference to ``zero``; 1 if it is worse."""

    def p(pair: Pair, turn: float) -> float:
        return p_different(pair) if turn * sign * pair.difference < 0 else 1.0

    pairs = compare_pairs(arms, seeds)
    firsts = {first: p(pair, 1.0) for (first, second), pair in pairs.items() if second == zero}
    seconds = {second: p(pair, -1.0) for (first, second), pair in pairs.items() if first == zero}
    return firsts | seconds
