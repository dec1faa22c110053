"""Paired tests of two arms on the same seeds, their variance shared by all arms, their power."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

Array = npt.NDArray[np.float64]

#: Relative to squared scores, smaller variances are rounding errors.
ROUNDING = 1e-20
#: With at most this many seeds all sign flips are enumerated; 2¹⁴ take a few milliseconds.
MAX_FLIPS = 14
#: Larger numbers of seeds are not reported.
MAX_SEEDS = 1_000


@dataclass(frozen=True)
class VariancePrior:
    """Prior of the variance of a pair's difference on one seed; none with 0 degrees of freedom."""

    variance: float
    degrees: float


def estimate_prior(scores: Array) -> VariancePrior:
    """Estimate a prior of the variance of differences from the variances of all arms.

    Seeds shift all arms alike; the residuals of the scores, ``(arms, seeds)`` with at least two
    seeds, give each arm a variance. The closer these agree, the more degrees of freedom their
    pooled value has: the empirical Bayes estimate of Smyth (2004, doi 10.2202/1544-6115.1027).
    Half of them are used: with few arms of unequal variance all of them reject too often. Two
    arms have only one difference, so no prior.

    >>> prior = estimate_prior(np.array([[1.0, 2, 3], [2, 2, 5], [4, 3, 4]]))
    >>> round(prior.variance, 4), round(prior.degrees, 4)
    (1.5556, 1.0)
    """
    arms, seeds = scores.shape
    if arms < 3:
        return VariancePrior(0.0, 0.0)
    residuals = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    squares = (residuals**2).sum(1)
    pooled = float(squares.sum()) / ((arms - 1) * (seeds - 1))
    if pooled <= ROUNDING * float((scores**2).max()):
        return VariancePrior(0.0, 0.0)
    own_degrees = (seeds - 1) * (arms - 1) / arms
    variances = np.maximum(squares / own_degrees, 1e-8 * pooled)  # arms with variance 0
    excess = np.log(variances).var(ddof=1) - special.polygamma(1, own_degrees / 2)
    limit = (arms - 2) * (seeds - 1)  # degrees of freedom of the other arms
    degrees = limit if excess <= 0 else min(limit, 2 * inverse_trigamma(float(excess)))
    return VariancePrior(2 * pooled, degrees / 2)


def inverse_trigamma(value: float) -> float:
    """The positive x whose trigamma is ``value``, to 12 digits.

    >>> round(inverse_trigamma(np.pi**2 / 6), 6)
    1.0
    """
    # trigamma(x) lies between 1/x and 1/x + 1/x²
    low, high = 1 / value, 1 / value + 1 / np.sqrt(value)
    return optimize.brentq(lambda x: special.polygamma(1, x) - value, low, high, rtol=1e-12)


@dataclass(frozen=True)
class Pair:
    """Differences of two arms on each seed, in units of the score, with their variance.

    ``degrees`` are those of freedom of the variance, ``prior`` the part that comes from all arms.
    """

    differences: tuple[float, ...]
    variance: float
    degrees: float
    prior: float = 0.0

    @property
    def difference(self) -> float:
        """Mean difference over seeds."""
        return sum(self.differences) / len(self.differences)

    @property
    def standard_error(self) -> float:
        """Standard error of the mean difference."""
        return float(np.sqrt(self.variance / len(self.differences)))


def compare(first: Array, second: Array, prior: VariancePrior) -> Pair:
    """The difference of two arms whose scores, ``(seeds,)`` each, are paired by seed.

    Without prior degrees of freedom this is the paired t test. Otherwise the variance is shrunk
    towards that of all arms, ``(d0 s0² + d s²) / (d0 + d)`` on ``d0 + d`` degrees of freedom:
    the moderated t test of Smyth (2004).

    >>> pair = compare(np.array([3.0, 5, 4]), np.array([2.0, 3, 3]), VariancePrior(0.0, 0.0))
    >>> pair.differences, round(pair.variance, 4), pair.degrees
    ((1.0, 2.0, 1.0), 0.3333, 2.0)
    """
    return compare_each(first[None], second[None], prior)[0]


def compare_each(first: Array, second: Array, prior: VariancePrior) -> list[Pair]:
    """`compare` for several pairs at once: ``(pairs, seeds)`` each.

    >>> pairs = compare_each(np.eye(2), np.zeros((2, 2)), VariancePrior(0.0, 0.0))
    >>> [pair.difference for pair in pairs]
    [0.5, 0.5]
    """
    differences = first - second
    own = differences.var(axis=1, ddof=1)
    largest = np.maximum((first**2).max(1), (second**2).max(1))
    own = np.where(own <= ROUNDING * largest, 0.0, own)
    degrees = differences.shape[1] - 1
    total = degrees + prior.degrees
    variance = (prior.degrees * prior.variance + degrees * own) / total
    return [
        Pair(tuple(each), v, total, prior.degrees)
        for each, v in zip(differences.tolist(), variance.tolist(), strict=True)
    ]


def p_different(pair: Pair) -> float:
    """Two-sided p-value of the hypothesis that two arms do not differ.

    If all seeds show the same difference its variance is 0, and the t test would reject after two
    seeds; the sign-flip test is used instead.

    >>> round(p_different(Pair((1.0, 2.0, 1.0), 1 / 3, 2.0)), 4)
    0.0572
    """
    if pair.variance == 0:
        return sign_flip(pair.differences)
    return 2 * _tail(abs(pair.difference) / pair.standard_error, pair.degrees)


def p_equivalent(pair: Pair, margin: float) -> float:
    """p-value of the hypothesis that two arms differ by ``margin``, in units of the score, or more.

    The larger p-value of two one-sided tests (Schuirmann 1987). If the variance is 0 it is the
    smallest p-value of a one-sided sign-flip test.

    >>> round(p_equivalent(Pair((-1.0, 0.0, 1.0), 1.0, 2.0), margin=2.0), 4)
    0.0371
    """
    room = margin - abs(pair.difference)
    if pair.variance == 0:
        return 0.5 ** len(pair.differences) if room > 0 else 1.0
    return _tail(room / pair.standard_error, pair.degrees)


def _tail(t: float, degrees: float) -> float:
    """Upper tail of Student's t; a hundred times faster than ``scipy.stats.t.sf``."""
    return float(special.stdtr(degrees, -t))


def sign_flip(differences: Sequence[float]) -> float:
    """Exact two-sided p-value of the mean under all sign flips (Fisher 1935).

    The test keeps its level for any differences that are symmetric about 0, as those of two equal
    arms are. Its smallest p-value is ``2 / 2**n``: it needs 6 seeds to fall below 0.05, so it is
    not the default test. For more than 14 seeds 9,999 random flips replace the enumeration.

    >>> sign_flip([1.0, 2.0, 3.0])
    0.25
    """
    if not any(differences):
        return 1.0
    options = {
        "permutation_type": "samples",
        "n_resamples": np.inf if len(differences) <= MAX_FLIPS else 9_999,
        "rng": np.random.default_rng(0),
    }
    return float(stats.permutation_test((np.asarray(differences),), np.mean, **options).pvalue)


def probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> float:
    """Probability that a run of the first arm outscores one of the second; ties count half.

    The Mann-Whitney U over the number of pairs of runs, as in Agarwal et al. (2021,
    2108.13264), for one task. 0.5 if neither is better; NaN without runs.

    >>> probability_of_improvement([3, 4, 5], [1, 3, 4])
    0.7778
    """
    if not len(first) or not len(second):
        return np.nan
    wins = stats.mannwhitneyu(first, second, method="asymptotic").statistic
    return float(wins / (len(first) * len(second)))


def t_test_power(
    difference: float, deviation: float, seeds: int, level: float, prior: float = 0
) -> float:
    """Probability that a two-sided paired t test finds a true difference with the right sign.

    ``deviation``, above 0, is the standard deviation of the difference on one seed; ``prior`` are
    the degrees of freedom of the variance prior.

    >>> round(t_test_power(1.0, 1.0, seeds=10, level=0.05), 4)
    0.8031
    """
    degrees = seeds - 1 + prior
    shift = abs(difference) / deviation * np.sqrt(seeds)
    critical = stats.t.isf(level / 2, degrees)
    return float(stats.nct.sf(critical, degrees, shift))


def detectable_difference(
    deviation: float, seeds: int, level: float, prior: float = 0, power: float = 0.8
) -> float | None:
    """Smallest true difference that a two-sided paired t test finds with a power.

    None without noise, where the sign-flip test decides. Arguments are as for `t_test_power`.

    >>> round(detectable_difference(1.0, seeds=10, level=0.05), 2)
    1.0
    """
    if deviation == 0:
        return None

    def excess(difference: float) -> float:
        return t_test_power(difference, 1.0, seeds, level, prior) - power

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return deviation * float(optimize.brentq(excess, 0.0, high, rtol=1e-6))


def seeds_needed(pair: Pair, level: float) -> int | None:
    """Smallest number of seeds that detects the observed difference with a power of 80 %.

    None if 1,000 seeds are not enough. The observed difference is a rough estimate of the true
    one: the result is an order of magnitude. ``level`` is that of the test.

    >>> seeds_needed(Pair((1.0, 0.0, 2.0), 1.0, 2.0), level=0.05)
    10
    """
    if pair.difference == 0:
        return None
    if pair.variance == 0:  # the sign-flip test decides
        return int(np.ceil(1 - np.log2(level)))
    deviation = float(np.sqrt(pair.variance))

    def is_enough(seeds: int) -> bool:
        return t_test_power(pair.difference, deviation, seeds, level, pair.prior) >= 0.8

    # power grows with seeds
    found = bisect_left(range(MAX_SEEDS + 1), True, lo=2, key=is_enough)
    return found if found <= MAX_SEEDS else None
