"""Speed-up over model sizes: how much less compute an arm needs for a loss of a control.

Each arm's loss is a power law of the FLOPs of its training, ``loss = exp(a) * FLOPs ** b``, fitted
in logarithms over the sizes. Source of the law: Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .aggregates import CONFIDENCE, RESAMPLES
from .intervals import Interval

Array = npt.NDArray[np.float64]

#: A line has two parameters; its fit is seen in a third point.
MIN_SIZES = 3


@dataclass(frozen=True)
class Size:
    """Trainings of an arm at one size: their FLOPs, and their losses by seed, above 0."""

    flops: float
    losses: Mapping[int, float]


@dataclass(frozen=True)
class SizeSpeedup:
    """FLOPs that a control needs over those that an arm needs, for the same loss.

    Attributes:
        value: 2 if the arm needs half of the control's FLOPs.
        interval: 95 %, bootstrap over seeds; 0 at its low end where the loss of the arm does not
            fall with FLOPs.
        loss: of the control's law at the FLOPs of its largest size.
        extrapolated: whether the arm needs more or fewer FLOPs for it than at any of its sizes.
    """

    value: float
    interval: Interval
    loss: float
    extrapolated: bool


def size_speedup(arm: Sequence[Size], control: Sequence[Size]) -> SizeSpeedup | None:
    """Compare the FLOPs that an arm and a control need for a loss, by their laws over sizes.

    Seeds are resampled, the same for all sizes and both arms.

    Args:
        arm, control: their trainings at each size.

    Returns:
        None with fewer than 3 sizes, without seeds that all have, or if a loss does not fall
        with FLOPs.

    >>> sizes = [1e9, 1e10, 1e11]
    >>> control = [Size(flops, {0: flops**-0.125}) for flops in sizes]
    >>> arm = [Size(flops / 2, {0: flops**-0.125}) for flops in sizes]
    >>> round(size_speedup(arm, control).value, 6)
    2.0
    """
    seeds = sorted(set.intersection(*(set(size.losses) for size in [*arm, *control] or [_NONE])))
    if not seeds or any(len({size.flops for size in each}) < MIN_SIZES for each in (arm, control)):
        return None
    drawn = np.random.default_rng(0).multinomial(
        len(seeds), np.full(len(seeds), 1 / len(seeds)), RESAMPLES
    )
    weights = np.vstack([np.ones(len(seeds)), drawn]) / len(seeds)  # the first row: all seeds
    ours, theirs = _law(arm, seeds, weights), _law(control, seeds, weights)
    largest = np.log(max(size.flops for size in control))
    goals = theirs[0] + theirs[1] * largest
    if ours[1][0] >= 0 or theirs[1][0] >= 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        needed = np.where(ours[1] < 0, (goals - ours[0]) / ours[1], np.inf)
        ratios = np.exp(largest - needed)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(ratios[1:], tails)
    own = [np.log(size.flops) for size in arm]
    return SizeSpeedup(
        value=float(ratios[0]),
        interval=Interval(float(low), float(high)),
        loss=float(np.exp(goals[0])),
        extrapolated=not min(own) <= needed[0] <= max(own),
    )


#: A size without a training.
_NONE = Size(1.0, {})


def _law(sizes: Sequence[Size], seeds: Sequence[int], weights: Array) -> tuple[Array, Array]:
    """Intercepts and slopes of the log of mean losses over log FLOPs, one for each row."""
    x = np.log([size.flops for size in sizes])
    losses = np.array([[size.losses[seed] for size in sizes] for seed in seeds])
    y = np.log(weights @ losses)
    deviation = x - x.mean()
    slope = (y @ deviation) / (deviation @ deviation)
    return y.mean(1) - slope * x.mean(), slope
