"""Gumbel top-K: experts sampled from the gate's distribution."""

import math

import torch
from torch import Tensor, nn

from ._router import ROUTERS, Router, Traits
from .blocks import check_k, softmax, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("gumbel")
class Gumbel(Router):
    """Each item samples K experts from its gate in training, and uses the most likely in eval.

    ``S = topk(h + g)``, ``g = -log(-log u)``: K draws from ``softmax(h)`` without replacement.
    Each has weight ``1 / K``. A straight-through estimator uses the gradient of
    ``softmax((h + g) / tau)[S]`` as a surrogate. Each optimizer step ``t`` lowers the temperature,
    ``tau = max(floor, tau_0 exp(-rate t))``.

    Source: Jang et al. 2017, 1611.01144, equations 1 and 2, section 2.2; top K, Kool et al. 2019,
    1903.06059.

    Args:
        temperature: ``tau_0``.
        floor: minimum temperature.
        rate: annealing rate per step; 0 keeps the temperature constant.

    >>> router = Gumbel(4, 8, k=2, rate=0.001)
    >>> for _ in range(100):
    ...     router.adapt(torch.ones(8))
    >>> round(router.temperature.value.item(), 4)
    0.9048
    """

    traits = Traits(exact_gradients=False)
    search_space = {"k": [1, 2, 4], "floor": [0.1, 0.5]}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        temperature: float = 1.0,
        floor: float = 0.5,
        rate: float = 0.001,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        self.k = k
        self.temperature = Annealed(temperature, floor, rate)
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        scores = logits + _gumbel_like(logits) if self.training else logits
        expert = top_k(scores, self.k)
        soft = softmax(scores / self.temperature.value.to(scores.dtype)).gather(1, expert)
        weight = 1 / self.k + soft - soft.detach()
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)

    def adapt(self, load: Tensor) -> None:
        if self.training:
            self.temperature.step()


def _gumbel_like(logits: Tensor) -> Tensor:
    """Standard Gumbel noise, kept finite: ``-log`` of positive exponential noise."""
    return -torch.empty_like(logits).exponential_().clamp_min(1e-20).log()


#: Float32 scores divided by a lower temperature overflow, so that the softmax is NaN.
MIN_TEMPERATURE = 1e-30


class Annealed(nn.Module):
    """``max(floor, first exp(-rate t))`` after ``t`` steps (Jang et al. 2017, section 2.2).

    >>> temperature = Annealed(1.0, floor=0.5, rate=0.1)
    >>> temperature.step()
    >>> round(temperature.value.item(), 4)
    0.9048
    """

    steps: Tensor

    def __init__(self, first: float, floor: float, rate: float) -> None:
        super().__init__()
        if not MIN_TEMPERATURE <= first < math.inf:
            raise OptionError("temperature", first, f"a finite number >= {MIN_TEMPERATURE}")
        if not MIN_TEMPERATURE <= floor <= first:
            expected = f"a number in [{MIN_TEMPERATURE}, temperature={first}]"
            raise OptionError("floor", floor, expected)
        if not 0 <= rate < math.inf:
            raise OptionError("rate", rate, "a finite number >= 0")
        self.first, self.floor, self.rate = first, floor, rate
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def value(self) -> Tensor:
        """The current temperature, a float64 scalar."""
        return (self.first * torch.exp(-self.rate * self.steps.double())).clamp_min(self.floor)

    def step(self) -> None:
        """Advance the schedule by one optimizer step."""
        self.steps += 1
