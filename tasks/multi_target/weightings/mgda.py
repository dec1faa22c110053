"""Weights of the common gradient of least norm."""

from torch import Tensor

from ._base import WEIGHTINGS
from ._gramian import GramianWeighting


@WEIGHTINGS.register("mgda")
class MinNorm(GramianWeighting):
    """Weights of the common gradient of least norm, so that no target gets worse (MGDA-UB).

    ``sum_t a_t L_t`` with ``a = argmin |sum_t a_t dL_t/dz|`` over weights that are not negative
    and sum to 1, for the shared representation ``z``.
    Source: Sener and Koltun 2018, 1810.04650, equation MGDA-UB.
    """

    def weights(self, gram: Tensor) -> Tensor:
        return min_norm_weights(gram)


def min_norm_weights(gram: Tensor, steps: int = 100) -> Tensor:
    """Weights ``a`` of the shortest convex combination of vectors: ``argmin a' G a``.

    ``G`` are the inner products of ``T`` vectors, ``(T, T)``; ``steps`` are the most to take.
    Frank-Wolfe in pairwise steps: weight goes from the vector that lengthens most to the one
    that shortens most, as far as is best. Two vectors take one step.
    Source: Lacoste-Julien and Jaggi 2015, 1511.05932, algorithm 2.

    >>> from torch import tensor
    >>> min_norm_weights(tensor([[1.0, 0.0], [0.0, 3.0]])).tolist()
    [0.75, 0.25]
    """
    rows: list[list[float]] = gram.tolist()  # a few numbers: tensors would only be slower
    tasks = range(len(rows))
    weights = [1 / len(rows)] * len(rows)
    for _ in range(steps):
        slope = [sum(g * w for g, w in zip(row, weights, strict=True)) for row in rows]
        to = min(tasks, key=slope.__getitem__)
        off = max((t for t in tasks if weights[t] > 0), key=slope.__getitem__)
        curve = rows[to][to] - 2 * rows[to][off] + rows[off][off]
        if slope[off] <= slope[to] or curve <= 0:
            break
        step = min((slope[off] - slope[to]) / curve, weights[off])
        weights[to] += step
        weights[off] -= step
    return gram.new_tensor(weights)
