"""How large a mean is, and how sure that is, from a handful of seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: From so many values on the bootstrap is trusted; below it its intervals are too short.
ENOUGH_TO_RESAMPLE = 20

#: Resamples of a bootstrap.
RESAMPLES = 9_999


@dataclass(frozen=True)
class Interval:
    """A range that holds the true mean with the confidence it was made for; NaN: unknown."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """From one end to the other."""
        return self.high - self.low


UNKNOWN = Interval(np.nan, np.nan)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The interval that is honest for this many values.

    Student's below 20 values, the BCa bootstrap from there on. Of 4,000 samples from a normal
    distribution, nominal 95 % intervals held the mean so often (log-normal, sigma 0.5, beside):

    ======  =========  =========
    values  Student    BCa
    ======  =========  =========
    3       .95 (.92)  .72 (.69)
    5       .95 (.91)  .84 (.81)
    10      .95 (.93)  .90 (.89)
    20      .95 (.93)  .93 (.91)
    ======  =========  =========

    Args:
        values: one for each seed.
        confidence: how often such an interval should hold the true mean.

    >>> mean_interval([0.94, 0.95, 0.96]).low.__round__(4)
    0.9252
    """
    if len(values) < ENOUGH_TO_RESAMPLE:
        return student_interval(values, confidence)
    return bootstrap_interval(values, confidence)


def student_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean: exact for normal values, however few (Student 1908).

    One value tells nothing of its spread, so its interval is unknown (NaN); identical values
    have an interval without width.

    >>> student_interval([0.94, 0.95, 0.96]).high.__round__(4)
    0.9748
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        return UNKNOWN
    reach = stats.t.ppf((1 + confidence) / 2, len(x) - 1) * stats.sem(x)
    return Interval(float(x.mean() - reach), float(x.mean() + reach))


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The BCa bootstrap interval of the mean (Efron 1987), with a fixed seed.

    It assumes no distribution but takes the values for all there can be: never wider than
    from the least to the largest, and too short for few seeds (see `mean_interval`). One value
    gives an unknown interval, identical values one without width; of two it is their range.

    >>> bootstrap_interval([0.94, 0.95, 0.96, 0.97, 0.971]).low.__round__(3)
    0.946
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < 2:
        return UNKNOWN
    if len(x) == 2 or np.ptp(x) == 0:
        return Interval(float(x.min()), float(x.max()))
    found = stats.bootstrap(
        (x,),
        np.mean,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def interquartile_mean(values: Sequence[float]) -> float:
    """Mean of the middle half: the lowest and highest quarter are left out, rounded down.

    Little moved by one lucky or failed seed (Agarwal et al. 2021, 2108.13264). Fewer than 4
    values have no quarter to leave out: it is their mean. None give NaN.

    >>> interquartile_mean([0.10, 0.94, 0.96, 0.99])
    0.95
    """
    return float(stats.trim_mean(values, 0.25)) if len(values) else np.nan
