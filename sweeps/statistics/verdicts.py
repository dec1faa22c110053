"""Pairwise comparison of arms, corrected for multiple testing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

import numpy as np

from ..config.objectives import Objective
from .multiple_testing import compact_letter_display, holm
from .paired_tests import Pair, compare, estimate_prior, p_different, p_equivalent, seeds_needed

#: Familywise error rate: in at most this share of sweeps any equal arms are called different.
LEVEL = 0.05

#: Fewer seeds do not estimate the variance.
MIN_SEEDS = 3


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


def compare_all(
    scores: Mapping[str, Mapping[int, float]], objective: Objective, margin: float
) -> Verdicts:
    """Compare all pairs of arms by moderated paired t tests with Holm's correction.

    All pairs are tested, not only those with the best arm: the same scores select the best arm, so
    the best against the last of ten is the largest of 45 differences. If no arms differ, any pair
    is called different in at most 5 % of sweeps; tests/sweeps checks that for normal and skewed
    scores. Two arms are compared by the plain paired t test.

    A pair is ``equivalent within margin`` if both one-sided tests reject after Holm's correction,
    even if the small difference is significant; else ``better`` or ``worse`` if the difference is
    significant; else ``not distinguishable``. The comparison is of the confirmed configurations:
    the variance over seeds does not include that of the search.

    Args:
        scores: by label, then by seed, of complete arms; with fewer than 3 shared seeds there are
            no verdicts.
        margin: the largest irrelevant difference; 0 calls no arms equivalent.

    >>> one = {1: 0.90, 2: 0.91, 3: 0.90, 4: 0.92, 5: 0.91}
    >>> other = {1: 0.95, 2: 0.96, 3: 0.94, 4: 0.96, 5: 0.95}
    >>> objective = Objective("score.value", "maximize")
    >>> compare_all({"x": one, "y": other}, objective, margin=0.01).of("x", "y").word
    <Word.WORSE: 'worse'>
    """
    shared = sorted(set.intersection(*(set(each) for each in scores.values()))) if scores else []
    if len(shared) < MIN_SEEDS:
        return Verdicts({}, dict.fromkeys(scores, ""), ())
    found = np.array([[each[seed] for seed in shared] for each in scores.values()])
    labels, prior = list(scores), estimate_prior(found)
    pairs = {
        (labels[i], labels[j]): compare(found[i], found[j], prior)
        for i, j in combinations(range(len(labels)), 2)
    }
    different = holm([p_different(pair) for pair in pairs.values()])
    equivalent = holm([p_equivalent(pair, margin) for pair in pairs.values()])
    verdicts = {
        names: Verdict(_word(objective, pair, p, p_same), pair, p, p_same, LEVEL / len(pairs))
        for (names, pair), p, p_same in zip(pairs.items(), different, equivalent, strict=True)
    }
    order = np.argsort(objective.sign * found.mean(1), kind="stable")
    best_first = [labels[index] for index in order]
    apart = [names for names, verdict in verdicts.items() if verdict.word in OPPOSITE]
    return Verdicts(verdicts, compact_letter_display(best_first, apart), tuple(shared))


def _word(objective: Objective, pair: Pair, p: float, p_same: float) -> Word:
    if p_same <= LEVEL:
        return Word.EQUIVALENT
    if p <= LEVEL:
        return Word.BETTER if objective.sign * pair.difference < 0 else Word.WORSE
    return Word.UNCLEAR
