"""How the losses of several tasks become one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .targets import Target, kind_of


class Weighting(nn.Module, ABC):
    """Combines the losses of ``T`` targets; what it learns is trained with the network.

    Args:
        targets: what the losses are of.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__()
        self.num_targets = len(targets)

    @abstractmethod
    def forward(self, losses: Tensor, shared: Tensor) -> Tensor:
        """One loss.

        Args:
            losses: ``(T,)``.
            shared: the representation that all targets are predicted from.
        """


class Fixed(Weighting):
    """The mean."""

    def forward(self, losses: Tensor, shared: Tensor) -> Tensor:
        return losses.mean()


class Uncertainty(Weighting):
    """Each target has a learnt noise, and counts for less the more it has.

    ``mean_t(c_t exp(-s_t) L_t + s_t / 2)`` with the log-variances ``s`` learnt from 0; ``c`` is
    1 for cross-entropies and 1/2 for squared errors.
    Source: Kendall et al. 2018, 1705.07115, equations 7 and 10.

    >>> weighting = Uncertainty([Target("a", "binary"), Target("b", "number")])
    >>> weighting(torch.tensor([3.0, 4.0]), torch.zeros(1)).item()
    2.5
    """

    factors: Tensor

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__(targets)
        self.log_variance = nn.Parameter(torch.zeros(len(targets)))
        factors = torch.tensor([kind_of(target).log_likelihood for target in targets])
        self.register_buffer("factors", factors)

    def forward(self, losses: Tensor, shared: Tensor) -> Tensor:
        precision = torch.exp(-self.log_variance)
        return (self.factors * precision * losses + self.log_variance / 2).mean()


class MinNorm(Weighting):
    """The weights whose common gradient is shortest, so that no target gets worse (MGDA-UB).

    ``sum_t a_t L_t`` with ``a = argmin |sum_t a_t dL_t/dz|`` over weights that are not negative
    and sum to 1, for the shared representation ``z``: the gradients end there, and the
    encoder is not passed twice. Where no gradient is kept it is the mean.
    Source: Sener and Koltun 2018, 1810.04650, equation MGDA-UB.
    """

    def forward(self, losses: Tensor, shared: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and shared.requires_grad):
            return losses.mean()
        gradients = torch.stack([_gradient(loss, shared) for loss in losses])
        weights = min_norm_weights(gradients @ gradients.t())
        return losses @ weights.to(losses)


def _gradient(loss: Tensor, shared: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
    return (torch.zeros_like(shared) if gradient is None else gradient).flatten().double()


def min_norm_weights(gram: Tensor, steps: int = 100) -> Tensor:
    """Weights ``a`` of the shortest convex combination of vectors: ``argmin a' G a``.

    Frank-Wolfe in pairwise steps: weight goes from the vector that lengthens most to the one
    that shortens most, as far as is best. Two vectors take one step.
    Source: Lacoste-Julien and Jaggi 2015, 1511.05932, algorithm 2.

    Args:
        gram: inner products of ``T`` vectors, ``(T, T)``.
        steps: at most.

    >>> min_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 3.0]])).tolist()
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


#: What ``task.weighting`` can be.
WEIGHTINGS: Mapping[str, type[Weighting]] = {
    "fixed": Fixed,
    "uncertainty": Uncertainty,
    "mgda": MinNorm,
}
