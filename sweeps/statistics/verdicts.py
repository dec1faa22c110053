"""What can be said of each pair of arms, once all that was looked at is paid for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import combinations

import numpy as np

from ..config.objectives import Objective
from .compact_letters import letters
from .multiple_testing import holm
from .paired_tests import Pair, compare, p_different, p_equivalent
from .power import seeds_needed
from .variance_moderation import common_spread

#: Of all that is called different where nothing is, at most this share of sweeps.
LEVEL = 0.05

#: Fewer seeds say too little about spread.
LEAST_SEEDS = 3


class Word(StrEnum):
    """What is said of an arm against another."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent within margin"
    UNCLEAR = "not distinguishable"
    TOO_FEW = "too few seeds"


OPPOSITE = {Word.BETTER: Word.WORSE, Word.WORSE: Word.BETTER}


@dataclass(frozen=True)
class Verdict:
    """What is said of a first arm against a second.

    Attributes:
        word: of the first: better, worse …
        pair: their difference, first less second; None for too few seeds.
        p: that arms without a difference look so different, after Holm over all pairs.
        p_equivalent: that arms as far apart as the margin look so alike, after Holm too.
        level: of this one test, at its strictest.
    """

    word: Word
    pair: Pair | None = None
    p: float | None = None
    p_equivalent: float | None = None
    level: float = LEVEL

    @property
    def seeds_needed(self) -> int | None:
        """To find the difference seen with 80 % chance, were it the true one.

        None if more than 1,000, or unknown; never fewer than the least that are tested.
        """
        found = None if self.pair is None else seeds_needed(self.pair, self.level)
        return None if found is None else max(found, LEAST_SEEDS)


TOO_FEW = Verdict(Word.TOO_FEW)


@dataclass(frozen=True)
class Verdicts:
    """What is said of every pair.

    Attributes:
        pairs: verdicts by the two labels, in one order of the two.
        groups: letters by label: arms that share one were not told apart. Empty for arms with
            too few seeds.
        seeds: all tested arms ran with; empty where there were too few.
    """

    pairs: Mapping[tuple[str, str], Verdict]
    groups: Mapping[str, str]
    seeds: tuple[int, ...]

    def of(self, first: str, second: str) -> Verdict:
        """What is said of the first against the second."""
        if (first, second) in self.pairs:
            return self.pairs[first, second]
        if (second, first) in self.pairs:
            return _turned(self.pairs[second, first])
        return TOO_FEW


def judge(
    scores: Mapping[str, Mapping[int, float]],
    objective: Objective,
    margin: float,
    level: float = LEVEL,
) -> Verdicts:
    """Tell arms apart by a moderated paired t test, with Holm over all pairs.

    All pairs, not only those with the best: which arm looks best is decided by the same numbers,
    so the best against the last of ten is the largest of 45 differences. In a sweep where no
    arm differs any two are called different in at most ``level`` of cases; tests/sweeps holds
    that to account for normal and skewed scores. Two arms are tested by the plain paired t
    test. An exact permutation test would assume less, but cannot reach 0.05 with 5 seeds.

    The words: ``equivalent within margin`` where both one-sided tests, after Holm, say so, even
    if the small difference is certain; else ``better`` or ``worse`` where the difference is
    found; else ``not distinguishable``. It speaks of the confirmed configurations: how lucky
    the search was that found them is not in the spread over seeds.

    Args:
        scores: by label, then by seed; only arms that are complete. They are compared on the
            seeds that all have; if these are fewer than 3 no verdict is reached.
        objective: which way is better.
        margin: the largest difference that does not matter; 0 calls none equivalent.
        level: of the tests.

    >>> one = {1: 0.90, 2: 0.91, 3: 0.90, 4: 0.92, 5: 0.91}
    >>> other = {1: 0.95, 2: 0.96, 3: 0.94, 4: 0.96, 5: 0.95}
    >>> judge({"x": one, "y": other}, Objective("score.value", "maximize"), 0.01).of("x", "y").word
    <Word.WORSE: 'worse'>
    """
    shared = sorted(set.intersection(*(set(each) for each in scores.values()))) if scores else []
    if len(shared) < LEAST_SEEDS:
        return Verdicts({}, dict.fromkeys(scores, ""), ())
    goodness = -objective.sign * np.array([[each[s] for s in shared] for each in scores.values()])
    labels = list(scores)
    pairs = _pairs(labels, goodness)
    words = _words(list(pairs.values()), margin, level, objective.sign)
    verdicts = dict(zip(pairs, words, strict=True))
    best_first = [labels[place] for place in np.argsort(-goodness.mean(1), kind="stable")]
    apart = [names for names, verdict in verdicts.items() if verdict.word in OPPOSITE]
    return Verdicts(verdicts, letters(best_first, apart), tuple(shared))


def _pairs(labels: Sequence[str], goodness: np.ndarray) -> dict[tuple[str, str], Pair]:
    common = common_spread(goodness)
    return {
        (labels[i], labels[j]): compare(goodness[i], goodness[j], common)
        for i, j in combinations(range(len(labels)), 2)
    }


def _words(pairs: Sequence[Pair], margin: float, level: float, sign: float) -> list[Verdict]:
    """Verdicts on differences in goodness, told in units of the score."""
    different = holm([p_different(pair) for pair in pairs])
    alike = holm([p_equivalent(pair, margin) for pair in pairs])
    return [
        Verdict(
            word=_word(pair, p, p_alike, level),
            pair=pair if sign < 0 else _negated(pair),
            p=p,
            p_equivalent=p_alike,
            level=level / len(pairs),
        )
        for pair, p, p_alike in zip(pairs, different, alike, strict=True)
    ]


def _word(pair: Pair, different: float, alike: float, level: float) -> Word:
    if alike <= level:
        return Word.EQUIVALENT
    if different <= level:
        return Word.BETTER if pair.difference > 0 else Word.WORSE
    return Word.UNCLEAR


def _turned(verdict: Verdict) -> Verdict:
    assert verdict.pair is not None
    word = OPPOSITE.get(verdict.word, verdict.word)
    return replace(verdict, word=word, pair=_negated(verdict.pair))


def _negated(pair: Pair) -> Pair:
    return replace(pair, differences=tuple(-difference for difference in pair.differences))
