"""Two arms on the same seeds: how much they differ, and what that is worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from .variance_moderation import ROUNDING, Array, Spread

#: Up to so many seeds all flips of signs are tried; 2¹⁴ is a few milliseconds.
MOST_FLIPS = 14


@dataclass(frozen=True)
class Pair:
    """A difference of two arms and how well it is known.

    Attributes:
        differences: the first arm less the second on each seed, in units of the score.
        variance: of such a difference.
        degrees: of freedom of that variance.
        prior: those of them that all other arms lend.
    """

    differences: tuple[float, ...]
    variance: float
    degrees: float
    prior: float = 0.0

    @property
    def seeds(self) -> int:
        """How many both arms ran with."""
        return len(self.differences)

    @property
    def difference(self) -> float:
        """Its mean over seeds."""
        return sum(self.differences) / self.seeds

    @property
    def standard_error(self) -> float:
        """Of the mean difference."""
        return float(np.sqrt(self.variance / self.seeds))


def compare(first: Array, second: Array, common: Spread) -> Pair:
    """The difference of two arms whose scores, ``(seeds,)`` each, are paired by seed.

    With nothing in ``common`` it is what the paired t test reads. Otherwise its variance is
    drawn to what all arms share, ``(d0 s0² + d s²) / (d0 + d)`` on ``d0 + d`` degrees of
    freedom: the moderated t of Smyth (2004), made for few samples of many things.

    >>> pair = compare(np.array([3.0, 5, 4]), np.array([2.0, 3, 3]), Spread(0.0, 0.0))
    >>> pair.differences, round(pair.variance, 4), pair.degrees
    ((1.0, 2.0, 1.0), 0.3333, 2.0)
    """
    differences = first - second
    own = float(differences.var(ddof=1))
    if own <= ROUNDING * float(max((first**2).max(), (second**2).max())):
        own = 0.0
    degrees = len(differences) - 1
    total = degrees + common.degrees
    return Pair(
        differences=tuple(differences.tolist()),
        variance=(common.degrees * common.variance + degrees * own) / total,
        degrees=total,
        prior=common.degrees,
    )


def p_different(pair: Pair) -> float:
    """Two-sided p that arms without a difference would look at least this different.

    Where all seeds show the very same difference there is no spread to measure it by, and the
    t test would be certain after two seeds; the sign-flip test then has the word.

    >>> round(p_different(Pair((1.0, 2.0, 1.0), 1 / 3, 2.0)), 4)
    0.0572
    """
    if pair.variance == 0:
        return sign_flip(pair.differences)
    return 2 * _tail(abs(pair.difference) / pair.standard_error, pair.degrees)


def p_equivalent(pair: Pair, margin: float) -> float:
    """p that arms that differ by ``margin`` or more would look at least this alike.

    Two one-sided tests (Schuirmann 1987): the larger of their p, against ``-margin`` and
    against ``margin``. Without spread it is the least p a sign-flip test of one side has.

    Args:
        pair: of the arms.
        margin: the largest difference that does not matter, in units of the score.

    >>> round(p_equivalent(Pair((-1.0, 0.0, 1.0), 1.0, 2.0), margin=2.0), 4)
    0.0371
    """
    room = margin - abs(pair.difference)
    if pair.variance == 0:
        return 0.5**pair.seeds if room > 0 else 1.0
    return _tail(room / pair.standard_error, pair.degrees)


def _tail(t: float, degrees: float) -> float:
    """Chance that Student's t is above; a hundred times faster than the distribution object."""
    return float(special.stdtr(degrees, -t))


def sign_flip(differences: Sequence[float]) -> float:
    """Exact two-sided p of the mean under all flips of signs (Fisher 1935).

    It holds its level for any differences that are symmetric about 0, as those of two equal
    arms are, whatever their distribution. Its least p is ``2 / 2**n``: 1/4 for 3 seeds, 1/16
    for 5; it takes 6 to fall below 0.05, so it cannot be the one test of few seeds. For over
    14 seeds 9,999 random flips stand for all.

    >>> sign_flip([1.0, 2.0, 3.0])
    0.25
    """
    if not any(differences):
        return 1.0
    every = len(differences) <= MOST_FLIPS
    found = stats.permutation_test(
        (np.asarray(differences),),
        np.mean,
        permutation_type="samples",
        n_resamples=np.inf if every else 9_999,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> float:
    """Chance that a run of the first scores above a run of the second; a tie is half a win.

    The Mann-Whitney U over the number of pairs of runs, as in Agarwal et al. (2021,
    2108.13264), for one task. 0.5 where neither is better; NaN without runs.

    >>> probability_of_improvement([3, 4, 5], [1, 3, 4])
    0.7778
    """
    if not len(first) or not len(second):
        return np.nan
    wins = stats.mannwhitneyu(first, second, method="asymptotic").statistic
    return float(wins / (len(first) * len(second)))
