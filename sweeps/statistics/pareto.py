"""Who is not dominated, on several objectives."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def pareto(
    values: npt.ArrayLike, signs: Sequence[float], allowed: Sequence[bool] | None = None
) -> list[bool]:
    """Which points lie on the Pareto front.

    A point dominates another if it is no worse in all objectives and better in one. A point
    with a NaN, or that breaks a constraint, is on no front and dominates nothing; equal points
    share their fate.

    Args:
        values: ``(points, objectives)``.
        signs: 1 for each objective that is to be small, -1 for large.
        allowed: whether each point keeps all constraints; None if all do.

    >>> pareto([[0.9, 1.0], [0.8, 2.0], [0.95, 3.0]], signs=[-1, 1])
    [True, False, True]
    """
    costs = np.asarray(values, dtype=np.float64).reshape(-1, len(signs)) * np.asarray(signs)
    front = ~np.isnan(costs).any(1) & _mask(allowed, len(costs))
    rivals = costs[front]
    for place in np.flatnonzero(front):
        cost = costs[place]
        beaten = (rivals <= cost).all(1) & (rivals < cost).any(1)
        front[place] = not beaten.any()
    return front.tolist()


def pareto_reference(
    values: npt.ArrayLike, signs: Sequence[float], allowed: Sequence[bool] | None = None
) -> list[bool]:
    """The same by its definition, one pair at a time.

    >>> pareto_reference([[0.9, 1.0], [0.8, 2.0], [0.95, 3.0]], signs=[-1, 1])
    [True, False, True]
    """
    costs = np.asarray(values, dtype=np.float64).reshape(-1, len(signs)) * np.asarray(signs)
    kept = _mask(allowed, len(costs))
    usable = [bool(ok) and not np.isnan(cost).any() for ok, cost in zip(kept, costs, strict=True)]

    def dominates(one: int, other: int) -> bool:
        both = list(zip(costs[one], costs[other], strict=True))
        return usable[one] and all(a <= b for a, b in both) and any(a < b for a, b in both)

    points = range(len(costs))
    return [usable[a] and not any(dominates(b, a) for b in points) for a in points]


def _mask(allowed: Sequence[bool] | None, points: int) -> npt.NDArray[np.bool_]:
    return np.ones(points, bool) if allowed is None else np.asarray(allowed, bool)
