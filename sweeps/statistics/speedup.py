"""Effective speed-up: how much less training an arm needs to reach the score of a control."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..config.objectives import Objective
from .aggregates import CONFIDENCE, RESAMPLES
from .intervals import Interval

Array = npt.NDArray[np.float64]

#: Points of one training, in order: cost so far (steps or FLOPs) and score.
Curve = Sequence[tuple[float, float]]
Curves = Mapping[int, Curve]


@dataclass(frozen=True)
class Speedup:
    """Cost of a control over the cost of an arm, at the same score.

    Attributes:
        value: 2 if the arm needs half of the control's training. If ``censored``, an upper bound:
            the arm does not reach the target within its training.
        interval: 95 %, bootstrap over seeds; 0 at its low end where samples do not reach the
            target.
        target: the score.
        reached: share of bootstrap samples in which the arm reaches it.
    """

    value: float
    interval: Interval
    target: float
    censored: bool
    reached: float


def effective_speedup(
    arm: Curves, control: Curves, objective: Objective, target: float | None = None
) -> Speedup | None:
    """Compare the training that an arm and a control need to reach a score.

    Curves are averaged over the seeds that both have, each as its best score so far, with linear
    interpolation between points. Both costs are those at which these averages first reach the
    target, so an arm next to its copy has a speed-up of about 1, even if the control has long
    stopped to improve.

    Args:
        arm, control: curves by seed.
        target: the score to reach; by default the final best score of the control, computed again
            in each bootstrap sample.

    Returns:
        None without shared seeds, if the control does not reach the given target, or if the
        curves of the seeds have no cost in common.

    >>> control = {seed: [(0, 0.0), (100, 0.5), (200, 0.75)] for seed in range(3)}
    >>> arm = {seed: [(0, 0.0), (50, 0.5), (100, 0.75)] for seed in range(3)}
    >>> effective_speedup(arm, control, Objective("score.value", "maximize")).value
    2.0
    """
    seeds = sorted(arm.keys() & control.keys())
    if not seeds:
        return None
    sign = -objective.sign
    ours, theirs = (_Envelopes.of([each[s] for s in seeds], sign) for each in (arm, control))
    drawn = np.random.default_rng(0).multinomial(
        len(seeds), np.full(len(seeds), 1 / len(seeds)), RESAMPLES
    )
    if not (ours.costs.size and theirs.costs.size):
        return None
    weights = np.vstack([np.ones(len(seeds)), drawn]) / len(seeds)  # the first row: all seeds
    goals = theirs.final(weights) if target is None else np.full(len(weights), sign * target)
    needed, spent = theirs.cost(weights, goals), ours.cost(weights, goals)
    if np.isinf(needed[0]):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = needed / spent  # 0 where the arm does not reach the goal
    censored = bool(np.isinf(spent[0]))
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    # where the control does not reach a goal either, the speed-up is unknown, so at least 0
    low, high = np.quantile(
        np.nan_to_num(ratios[1:], nan=0.0, posinf=np.inf), tails, method="lower"
    )
    return Speedup(
        value=float(needed[0] / ours.costs[-1] if censored else ratios[0]),
        interval=Interval(float(low), float(high)),
        target=float(sign * goals[0]),
        censored=censored,
        reached=float(np.isfinite(spent[1:]).mean()),
    )


@dataclass(frozen=True)
class _Envelopes:
    """Best scores so far, ``(seeds, costs)``, larger is better, at the costs of all points."""

    costs: Array
    best: Array

    @classmethod
    def of(cls, curves: Sequence[Curve], sign: float) -> "_Envelopes":
        """Envelopes from where all curves have begun to where the first ends."""
        points = [np.array(curve, dtype=np.float64).T for curve in curves]
        start, end = max(x[0] for x, _ in points), min(x[-1] for x, _ in points)
        costs = np.unique(np.concatenate([x for x, _ in points]))
        costs = costs[(costs >= start) & (costs <= end)]
        best = [np.interp(costs, x, np.maximum.accumulate(sign * y)) for x, y in points]
        return cls(costs, np.array(best))

    def final(self, weights: Array) -> Array:
        """Final best score of weighted means over seeds, ``(samples, seeds)`` each."""
        return weights @ self.best[:, -1]

    def cost(self, weights: Array, goals: Array) -> Array:
        """Cost at which weighted means first reach a goal; infinite if they do not."""
        curves = weights @ self.best
        reached = curves >= (goals - 1e-12 * np.abs(goals))[:, None]
        last = np.where(reached.any(1), reached.argmax(1), 0)
        first, rows = np.maximum(last - 1, 0), np.arange(len(curves))
        rise = curves[rows, last] - curves[rows, first]
        share = np.divide(goals - curves[rows, first], rise, out=np.ones_like(rise), where=rise > 0)
        cost = self.costs[first] + np.clip(share, 0, 1) * (self.costs[last] - self.costs[first])
        return np.where(reached.any(1), cost, np.inf)
