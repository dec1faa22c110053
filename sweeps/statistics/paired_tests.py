"""Paired tests of two arms on the same seeds, their variance shared by all arms, their power."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Array = npt.NDArray[np.float64]

#: Relative to squared scores, smaller variances are rounding errors.
ROUNDING = 1e-20
#: With at most this many seeds all sign flips are enumerated; 2¹⁴ take a few milliseconds.
MAX_FLIPS = 14
#: Steps of Newton's method, which converges in fewer.
MAX_NEWTON_STEPS = 50
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
    variances, degrees = estimate_priors(scores[None])
    return VariancePrior(float(variances[0]), float(degrees[0]))


def estimate_priors(scores: Array) -> tuple[Array, Array]:
    """Variances and degrees of `estimate_prior` for several sweeps, ``(sweeps, arms, seeds)``."""
    sweeps, arms, seeds = scores.shape
    if arms < 3:
        return np.zeros(sweeps), np.zeros(sweeps)
    means = scores.mean(2, keepdims=True), scores.mean(1, keepdims=True)
    residuals = scores - means[0] - means[1] + scores.mean((1, 2), keepdims=True)
    squares = (residuals**2).sum(2)
    pooled = squares.sum(1) / ((arms - 1) * (seeds - 1))
    noisy = pooled > ROUNDING * (scores**2).max((1, 2))
    own_degrees = (seeds - 1) * (arms - 1) / arms
    least = np.where(noisy, 1e-8 * pooled, 1.0)[:, None]  # for arms with variance 0
    logs = np.log(np.maximum(squares / own_degrees, least))
    excess = logs.var(1, ddof=1) - special.polygamma(1, own_degrees / 2)
    limit = (arms - 2) * (seeds - 1)  # degrees of freedom of the other arms
    found = 2 * inverse_trigamma(np.where(excess > 0, excess, 1.0))
    degrees = np.where(excess > 0, np.minimum(limit, found), limit) / 2
    return np.where(noisy, 2 * pooled, 0.0), np.where(noisy, degrees, 0.0)


def inverse_trigamma(values: Array) -> Array:
    """The positive x whose trigamma is each of ``values``, to 12 digits.

    >>> inverse_trigamma(np.array([np.pi**2 / 6])).round(6)
    array([1.])
    """
    # Newton's method on 1 / trigamma, which is convex, from below (Smyth 2004, appendix)
    x = 0.5 + 1 / values
    for _ in range(MAX_NEWTON_STEPS):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / values) / special.polygamma(2, x)
        x = x + step
        if (np.abs(step) <= 1e-12 * x).all():
            break
    return x


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
    differences, variances = moderate(first, second, prior.variance, prior.degrees)
    degrees = differences.shape[1] - 1 + prior.degrees
    return [
        Pair(tuple(each), variance, degrees, prior.degrees)
        for each, variance in zip(differences.tolist(), variances.tolist(), strict=True)
    ]


def moderate(
    first: Array, second: Array, prior_variance: float | Array, prior_degrees: float | Array
) -> tuple[Array, Array]:
    """Differences of scores, ``(..., seeds)``, and their variances as of `compare`, ``(...)``."""
    differences = first - second
    own = differences.var(-1, ddof=1)
    largest = np.maximum((first**2).max(-1), (second**2).max(-1))
    own = np.where(own <= ROUNDING * largest, 0.0, own)
    degrees = differences.shape[-1] - 1
    total = degrees + prior_degrees
    return differences, (prior_degrees * prior_variance + degrees * own) / total


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
