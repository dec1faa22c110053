"""Pareto front of points with several objectives."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def pareto_front(
    values: npt.ArrayLike, signs: Sequence[float], allowed: Sequence[bool] | None = None
) -> list[bool]:
    """Whether each point lies on the Pareto front.

    A point dominates another if it is no worse in all objectives and better in one. A point
    with a NaN or outside a constraint is never on the front and dominates nothing; equal points
    are on the front together or not at all.

    Args:
        values: ``(points, objectives)``.
        signs: 1 for each objective to minimize, -1 to maximize.
        allowed: whether each point satisfies all constraints; None if all do.

    >>> pareto_front([[0.9, 1.0], [0.8, 2.0], [0.95, 3.0]], signs=[-1, 1])
    [True, False, True]
    """
    costs = np.asarray(values, dtype=np.float64).reshape(-1, len(signs)) * np.asarray(signs)
    front = ~np.isnan(costs).any(1)
    if allowed is not None:
        front &= np.asarray(allowed, bool)
    rivals = costs[front]
    for index in np.flatnonzero(front):
        cost = costs[index]
        dominating = (rivals <= cost).all(1) & (rivals < cost).any(1)
        front[index] = not dominating.any()
    return front.tolist()
