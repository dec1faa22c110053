"""Weights learned from the uncertainty of each target."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..targets import Target, kind_of
from ._base import WEIGHTINGS, Weighting


@WEIGHTINGS.register("uncertainty")
class Uncertainty(Weighting):
    """Learns a noise level per target; a noisier target weighs less.

    ``mean_t(c_t exp(-s_t) L_t + s_t / 2)`` with the log-variances ``s`` learned from 0; ``c`` is
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
