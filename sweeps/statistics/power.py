"""Statistical power: the number of seeds needed to detect a difference."""

import numpy as np
from scipy import stats

from .paired_tests import Pair

#: Larger numbers of seeds are not reported.
MAX_SEEDS = 1_000


def t_test_power(
    difference: float, deviation: float, seeds: int, level: float, prior: float = 0
) -> float:
    """Probability that a two-sided paired t test finds a true difference with the right sign.

    Args:
        difference: the true mean difference.
        deviation: standard deviation of the difference on one seed, above 0.
        seeds: number of pairs.
        level: of the test, such as 0.05, or less if it is one of many.
        prior: degrees of freedom of the variance prior.

    >>> round(t_test_power(1.0, 1.0, seeds=10, level=0.05), 4)
    0.8031
    """
    degrees = seeds - 1 + prior
    shift = abs(difference) / deviation * np.sqrt(seeds)
    critical = stats.t.isf(level / 2, degrees)
    return float(stats.nct.sf(critical, degrees, shift))


def seeds_needed(pair: Pair, level: float, wanted: float = 0.8) -> int | None:
    """Smallest number of seeds that detects the observed difference, if it is the true one.

    None if 1,000 seeds are not enough. The observed difference is a rough estimate of the true
    one: the result is an order of magnitude.

    Args:
        pair: with the difference and its variance.
        level: of the test.
        wanted: the power to reach.

    >>> seeds_needed(Pair((1.0, 0.0, 2.0), 1.0, 2.0), level=0.05)
    10
    """
    if pair.difference == 0:
        return None
    if pair.variance == 0:  # the sign-flip test decides
        return int(np.ceil(1 - np.log2(level)))
    deviation = float(np.sqrt(pair.variance))

    def is_enough(seeds: int) -> bool:
        return t_test_power(pair.difference, deviation, seeds, level, pair.prior) >= wanted

    if not is_enough(MAX_SEEDS):
        return None
    low, high = 1, MAX_SEEDS  # power grows with seeds: halve the range
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
