"""Affinities: positive scores of single experts, each computed from its own logit."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .selection import softmax

#: Below this, ``log(softplus(h))`` is ``h`` up to rounding, and ``softplus`` may be 0.
_TINY = -30.0
#: Above this, ``softplus(h)`` is ``h`` up to rounding.
_LARGE = 40.0


def log_sqrt_softplus(logits: Tensor) -> Tensor:
    """``log(sqrt(softplus(h)))``, finite and with a gradient for any ``h``.

    >>> log_sqrt_softplus(torch.tensor([-300.0])).item()
    -150.0
    """
    exact = F.softplus(logits.clamp_min(_TINY), threshold=_LARGE).log()
    return torch.where(logits < _TINY, logits, exact) / 2


def sqrt_softplus(logits: Tensor) -> Tensor:
    """``sqrt(log(1 + exp(h)))``, with a finite gradient for any ``h``."""
    return log_sqrt_softplus(logits).exp()


@dataclass(frozen=True)
class Affinity:
    """A positive score of an expert.

    Attributes:
        score: the score, from logits.
        log: its logarithm.
        bound: no score is larger.
    """

    score: Callable[[Tensor], Tensor]
    log: Callable[[Tensor], Tensor]
    bound: float

    def normalized(self, logits: Tensor) -> Tensor:
        """Scores divided by their sum along the last axis, exact where all of them are tiny.

        >>> AFFINITIES["sigmoid"].normalized(torch.tensor([-900.0, -900.0])).tolist()
        [0.5, 0.5]
        """
        return softmax(self.log(logits))


def normalized_sigmoid(chosen: Tensor) -> Tensor:
    """``sigma(h[S]) / sum sigma(h[S])`` along the last axis, stable where all of them are tiny."""
    return AFFINITIES["sigmoid"].normalized(chosen)


#: By the value of an option: the sigmoid of DeepSeek-V3, ``sqrt(softplus(h))`` of DeepSeek-V4.
AFFINITIES: dict[str, Affinity] = {
    "sigmoid": Affinity(torch.sigmoid, F.logsigmoid, bound=1.0),
    "sqrt_softplus": Affinity(sqrt_softplus, log_sqrt_softplus, bound=math.inf),
}
