"""Gate mass, weighted by a coefficient that the router adapts."""

import torch
from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES
from ._gates import sparsity_coefficient
from ._statistics import expert_statistics


@LOSSES.register("sparsity")
def sparsity(routing: Routing) -> Tensor:
    """``lambda mean_i sum_e w_ie``: the gate mass (ReMoE 2412.14711, section 3.3).

    The routing holds the coefficient ``lambda``. The router raises it while more experts are
    active than its target and lowers it while fewer are, so the weight of this loss is 1.

    >>> from routers import Items
    >>> weight = torch.tensor([[3.0, 1.0], [2.0, 0.0]])
    >>> routing = Routing.by_mask(
    ...     Items(torch.zeros(2, 1)), weight, extras={"sparsity_coefficient": torch.tensor(0.1)}
    ... )
    >>> round(sparsity(routing).item(), 4)
    0.3
    """
    return torch.stack([_of_gate(gate) for gate in routing.gates or (routing,)]).sum()


def _of_gate(gate: Routing) -> Tensor:
    return sparsity_coefficient(gate, "sparsity") * expert_statistics(gate).importance.sum()
