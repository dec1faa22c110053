"""Pairwise comparison of arms, corrected for multiple testing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

import numpy as np

from ..config.confirm import MIN_SEEDS as MIN_SEEDS
from ..config.objectives import Objective
from .multiple_testing import compact_letter_display
from .paired_tests import (
    Pair,
    compare_each,
    estimate_prior,
    seeds_needed,
)

#: Familywise error rate: in at most this share of sweeps any equal arms are called different.
LEVEL = 0.05

#: Scores of a benchmark by arm, then by seed.
Scores = Mapping[str, Mapping[int, float]]


class Word(StrEnum):
    """Result of the comparison of an arm with another."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent within margin"
    UNCLEAR = "not distinguishable"
    TOO_FEW = "too few seeds"


OPPOSITE = {Word.BETTER: Word.WORSE, Word.WORSE: Word.BETTER}


@dataclass(frozen=True)
class Verdict:
    """Comparison of a first arm with a second.

    Attributes:
        word: the result for the first arm: better, worse …
        pair: their difference, first minus second; None for too few seeds.
        p, p_equivalent: p-values, after Holm over all pairs, of the hypotheses of no difference
            and of a difference of at least the margin.
        level: of this test, at its strictest.
    """

    word: Word
    pair: Pair | None = None
    p: float | None = None
    p_equivalent: float | None = None
    level: float = LEVEL

    @property
    def seeds_needed(self) -> int | None:
        """Seeds that detect the observed difference with 80 % power, if it is the true one.

        None if more than 1,000, or unknown; at least `MIN_SEEDS`.
        """
        found = None if self.pair is None else seeds_needed(self.pair, self.level)
        return None if found is None else max(found, MIN_SEEDS)


TOO_FEW = Verdict(Word.TOO_FEW)


@dataclass(frozen=True)
class Verdicts:
    """Comparisons of all pairs of arms by their labels, in one order of the two.

    ``groups`` are letters by label: arms that share one are not significantly different. They are
    empty for too few ``seeds`` that all tested arms have; then ``seeds`` is empty too.
    """

    pairs: Mapping[tuple[str, str], Verdict]
    groups: Mapping[str, str]
    seeds: tuple[int, ...]

    def of(self, first: str, second: str) -> Verdict:
        """Comparison of the first arm with the second."""
        found = self.pairs.get((second, first))
        if found is None or found.pair is None:
            return self.pairs.get((first, second), TOO_FEW)
        negated = replace(found.pair, differences=tuple(-d for d in found.pair.differences))
        return replace(found, word=OPPOSITE.get(found.word, found.word), pair=negated)


def shared_seeds(scores: Scores) -> tuple[int, ...]:
    """Seeds that all arms have, in ascending order.

    >>> shared_seeds({"x": {1: 0.5, 2: 0.6}, "y": {2: 0.7, 3: 0.8}})
    (2,)
    """
    return tuple(sorted(set.intersection(*map(set, scores.values())))) if scores else ()


def compare_pairs(scores: Scores, seeds: Sequence[int]) -> dict[tuple[str, str], Pair]:
    """Differences of all pairs of arms on ``seeds``, at least two, which every arm has.

    All arms given share the prior of the variance.

    >>> pairs = compare_pairs({"x": {1: 0.5, 2: 0.7}, "y": {1: 0.25, 2: 0.25}}, [1, 2])
    >>> pairs["x", "y"].difference
    0.35
    """
    if not scores:
        return {}
    found = np.array([[each[seed] for seed in seeds] for each in scores.values()])
    names = list(combinations(scores, 2))
    first, second = np.triu_indices(len(found), 1)
    pairs = compare_each(found[first], found[second], estimate_prior(found))
    return dict(zip(names, pairs, strict=True))


def judge(objective: Objective, pair: Pair, p: float, p_same: float) -> Word:
    """The result for the first arm of a pair by its corrected p-values."""
    if p_same <= LEVEL:
        return Word.EQUIVALENT
    if p <= LEVEL:
        return Word.BETTER if objective.sign * pair.difference < 0 else Word.WORSE
    return Word.UNCLEAR


def letters(
    best_first: Sequence[str], verdicts: Mapping[tuple[str, str], Verdict]
) -> dict[str, str]:
    """Letters of arms: two arms share one unless one of them is better."""
    apart = [names for names, verdict in verdicts.items() if verdict.word in OPPOSITE]
    return compact_letter_display(best_first, apart)
