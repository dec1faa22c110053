"""Variance moderation: a variance estimate shared by all arms of a sweep."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

Array = npt.NDArray[np.float64]

#: Relative to squared scores, smaller variances are rounding errors.
ROUNDING = 1e-20


@dataclass(frozen=True)
class VariancePrior:
    """Prior of the variance of a pair's difference, estimated from all arms.

    Attributes:
        variance: of a difference of two arms on one seed.
        degrees: degrees of freedom of the prior; 0 for no prior.
    """

    variance: float
    degrees: float


def estimate_prior(scores: Array) -> VariancePrior:
    """Estimate a prior of the variance of differences from the variances of all arms.

    Seeds shift all arms alike (one block each); the residuals give each arm a variance. The
    closer these agree, the more degrees of freedom their pooled value has: the empirical Bayes
    estimate of Smyth (2004, doi 10.2202/1544-6115.1027). Half of them are used: with few arms of
    unequal variance all of them reject too often. Two arms have only one difference, so no
    prior.

    Args:
        scores: ``(arms, seeds)``, at least two seeds.

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
    return float(
        optimize.brentq(lambda x: float(special.polygamma(1, x)) - value, low, high, rtol=1e-12)
    )
