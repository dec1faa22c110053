"""Routing by agreement: weights that follow the agreement of the experts' outputs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ._router import ROUTERS, Router
from .blocks import softmax
from .gates import GateSpec
from .plugins import OptionError
from .routing import Combine, Items, OutputCombiner, Routing


@ROUTERS.register("agreement")
class Agreement(Router):
    """A few rounds increase the weights of experts whose outputs agree with the mean output.

    ``c = softmax(b)``, ``s = sum_e c_e u_e``, ``y = squash(s)``, ``b_e += u_e . y`` for the
    outputs ``u_e`` of all experts, repeated ``rounds`` times; the gradient of ``u`` is that of
    the last round. ``b`` starts from a gate's scores, since zeros as in the paper leave no
    parameters here. All experts process all items. The routing's weights, which losses and
    metrics use, are the first ``c``; later ones are computed in ``Routing.execution``.

    Source: Sabour et al. 2017, 1710.09829, procedure 1 and equation 1.

    Args:
        rounds: number of times ``c`` is computed; 1 is a soft mixture, squashed.
        squash: whether the output is ``y``, of length below 1, or ``s``.

    >>> routing = Agreement(4, 8, rounds=3)(Items(torch.randn(5, 4)))
    >>> routing.load.tolist(), routing.execution.combiner.rounds
    ([5, 5, 5, 5, 5, 5, 5, 5], 3)
    """

    search_space = {"rounds": [1, 2, 3], "squash": [True, False]}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        rounds: int = 3,
        squash: bool = True,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        if not 1 <= rounds <= 1000:
            raise OptionError("rounds", rounds, "an integer in [1, 1000]")
        self.execution = Combine(AgreementRounds(rounds, squash))
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        probs = softmax(logits)
        return Routing.by_mask(items, probs, logits=logits, probs=probs, execution=self.execution)


@dataclass(frozen=True)
class AgreementRounds(OutputCombiner):
    """Combine outputs in rounds of agreement, starting from the given weights.

    >>> outputs = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]])
    >>> even = torch.full((1, 3), 1 / 3)
    >>> one, three = (AgreementRounds(n, squash=False).combine(outputs, even) for n in (1, 3))
    >>> [round(v, 2) for v in (*one[0].tolist(), *three[0].tolist())]
    [1.33, 0.67, 1.82, 0.18]
    """

    rounds: int
    squash: bool

    def combine(self, outputs: Tensor, weight: Tensor) -> Tensor:
        scores = weight.clamp_min(torch.finfo(weight.dtype).tiny).log()
        fixed = outputs.detach()
        for _ in range(self.rounds - 1):
            mean = _squashed(_mean(scores, fixed))
            scores = scores + (fixed @ mean.unsqueeze(-1)).squeeze(-1)
        mean = _mean(scores, outputs)
        return _squashed(mean) if self.squash else mean

    def flops(self, num_items: int, num_experts: int, features: int) -> int:
        return 2 * num_items * num_experts * features * (2 * self.rounds - 1)


def _mean(scores: Tensor, outputs: Tensor) -> Tensor:
    """The mean of outputs ``(N, E, F)`` weighted by ``softmax(b)`` of scores ``(N, E)``."""
    return (scores.softmax(-1).unsqueeze(1) @ outputs).squeeze(1)


def _squashed(s: Tensor) -> Tensor:
    """``|s|^2 / (1 + |s|^2) s / |s|``, with a finite gradient at 0."""
    square = s.square().sum(-1, keepdim=True)
    return s * square.clamp_min(torch.finfo(s.dtype).tiny).sqrt() / (1 + square)
