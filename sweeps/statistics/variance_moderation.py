"""How much arms vary from seed to seed, where each ran with few seeds."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

Array = npt.NDArray[np.float64]

#: Below this share of the scores' size a variance is rounding of floats, not spread.
ROUNDING = 1e-20


@dataclass(frozen=True)
class Spread:
    """What all arms together say about how much one of them varies.

    Attributes:
        variance: of a difference of two arms on one seed.
        degrees: of freedom that this knowledge is worth beside a pair's own; 0 for none.
    """

    variance: float
    degrees: float


def common_spread(scores: Array) -> Spread:
    """What the spread of all arms is worth for the spread of any two.

    Seeds shift all arms alike (a block each); what is left over gives each arm a variance.
    The closer those agree, the more degrees of freedom their pooled value is worth: the
    empirical Bayes estimate of Smyth (2004, doi 10.2202/1544-6115.1027). Half of it
    is granted: with few arms of unequal spread the full value makes too many differences.
    Two arms have but one difference, and get nothing.

    Args:
        scores: ``(arms, seeds)``, at least two seeds.

    >>> spread = common_spread(np.array([[1.0, 2, 3], [2, 2, 5], [4, 3, 4]]))
    >>> round(spread.variance, 4), round(spread.degrees, 4)
    (1.5556, 1.0)
    """
    arms, seeds = scores.shape
    if arms < 3:
        return Spread(0.0, 0.0)
    left = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    squares = (left**2).sum(1)
    pooled = float(squares.sum()) / ((arms - 1) * (seeds - 1))
    if pooled <= ROUNDING * float((scores**2).max()):
        return Spread(0.0, 0.0)
    own_degrees = (seeds - 1) * (arms - 1) / arms
    variances = np.maximum(squares / own_degrees, 1e-8 * pooled)  # an arm that never varies
    excess = np.log(variances).var(ddof=1) - special.polygamma(1, own_degrees / 2)
    most = (arms - 2) * (seeds - 1)  # what the other arms have
    degrees = most if excess <= 0 else min(most, 2 * inverse_trigamma(float(excess)))
    return Spread(2 * pooled, degrees / 2)


def inverse_trigamma(value: float) -> float:
    """The positive x whose trigamma is ``value``, to 12 digits.

    >>> round(inverse_trigamma(np.pi**2 / 6), 6)
    1.0
    """
    # trigamma(x) lies between 1/x and 1/x + 1/x²
    low, high = 1 / value, 1 / value + 1 / np.sqrt(value)
    return float(
        optimize.brentq(lambda x: float(special.polygamma(1, x)) - value, low, high, rtol=1e-12)
    )
