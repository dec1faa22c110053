"""Sparsemax routing."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from ._router import ROUTERS, Router
from .blocks import entmax
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("sparsemax")
class Sparsemax(Router):
    """Each item selects the experts with a positive sparsemax weight.

    ``p = argmin_{p in simplex} |p - h / T|^2 = [h / T - tau]_+``; the support of ``p`` is the
    selected set, ``p`` the weights. Other experts get no gradient from the item.

    Source: Martins and Astudillo 2016, 1602.02068, equation 2 and algorithm 1, in place of the
    softmax of a gate; the paper has no balance loss.

    Args:
        dim: ``D``.
        num_experts: ``E``.
        temperature: ``T``, > 0; lower values select fewer experts.
        gate: scores the experts.

    >>> import torch
    >>> router = Sparsemax(3, 3)
    >>> _ = torch.nn.init.eye_(router.gate.weight)
    >>> router(Items(torch.tensor([[1.0, 0.5, -1.0]]))).weight.tolist()
    [0.75, 0.25]
    """

    search_space: ClassVar[Mapping[str, Any]] = {
        "temperature": {"low": 0.1, "high": 10.0, "log": True}
    }

    def __init__(
        self, dim: int, num_experts: int, *, temperature: float = 1.0, gate: GateSpec = "linear"
    ) -> None:
        super().__init__(dim, num_experts)
        if not 0 < temperature < math.inf:
            raise OptionError("temperature", temperature, "a finite number > 0")
        self.temperature = temperature
        self.gate = self.build_gate(gate)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items) / self.temperature
        probs = entmax(logits, 2.0)
        return Routing.by_mask(items, probs, keep=probs > 0, logits=logits, probs=probs)
