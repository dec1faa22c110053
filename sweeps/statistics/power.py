"""How many seeds it takes to see a difference."""

import numpy as np
from scipy import stats

from .paired_tests import Pair

#: More seeds than that are no answer.
MOST_SEEDS = 1_000


def power(difference: float, spread: float, seeds: int, level: float, prior: float = 0) -> float:
    """Chance that a two-sided paired t test finds a true difference, the right way round.

    Args:
        difference: the true mean difference.
        spread: standard deviation of the difference on one seed, above 0.
        seeds: number of pairs.
        level: the test's, such as 0.05, or less where it is one of many.
        prior: degrees of freedom known beforehand.

    >>> round(power(1.0, 1.0, seeds=10, level=0.05), 4)
    0.8031
    """
    degrees = seeds - 1 + prior
    shift = abs(difference) / spread * np.sqrt(seeds)
    bar = stats.t.isf(level / 2, degrees)
    return float(stats.nct.sf(bar, degrees, shift))


def seeds_needed(pair: Pair, level: float, wanted: float = 0.8) -> int | None:
    """Least number of seeds that would find the difference seen, were it the true one.

    None where over 1,000 would not do, as for no difference at all. A difference seen is a rough
    guess at the true one: take the number as an order of magnitude.

    Args:
        pair: with the difference and its spread.
        level: of the test that is to find it.
        wanted: the chance to find it.

    >>> seeds_needed(Pair((1.0, 0.0, 2.0), 1.0, 2.0), level=0.05)
    10
    """
    if pair.difference == 0:
        return None
    if pair.variance == 0:  # found as soon as there are seeds enough for the sign-flip test
        return int(np.ceil(1 - np.log2(level)))
    spread = float(np.sqrt(pair.variance))

    def finds(seeds: int) -> bool:
        return power(pair.difference, spread, seeds, level, pair.prior) >= wanted

    if not finds(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS  # power grows with seeds: halve the range
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if finds(middle) else (middle, high)
    return high
