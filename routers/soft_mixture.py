"""Dense mixture of experts."""

import math

from ._router import ROUTERS, Router
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("soft_mixture")
class SoftMixture(Router):
    """Each item uses every expert, weighted by a softmax: a dynamic routing network.

    ``y = sum_e softmax(h / T)_e FFN_e(x)``.
    Source: Jacobs et al. 1991, equation 1 (Neural Computation 3:79). All experts process
    all items, at ``E / K`` times the cost of top-K.

    Args:
        temperature: ``T``, > 0; lower is sharper.

    >>> import torch
    >>> SoftMixture(4, 8)(Items(torch.randn(5, 4))).load.tolist()
    [5, 5, 5, 5, 5, 5, 5, 5]
    """

    search_space = {"temperature": {"low": 0.1, "high": 10.0, "log": True}}

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
        probs = logits.softmax(-1)
        return Routing.by_mask(items, probs, logits=logits, probs=probs)
