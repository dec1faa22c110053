"""Gate mass, weighted by a coefficient and by the load of each expert."""

import torch
from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES
from ._gates import sparsity_coefficient
from ._statistics import expert_statistics


@LOSSES.register("balanced_sparsity")
def balanced_sparsity(routing: Routing) -> Tensor:
    """``lambda E sum_e f_e mean_i w_ie``: ``sparsity``, with a higher weight for busy experts.

    ``f`` is the fraction of all assignments, as in ``switch``; source: ReMoE 2412.14711, section
    3.4. At balance it equals ``sparsity``. It has no level: the coefficient responds to all items
    and not to those of a group, and each of several gates has its own coefficient and loads,
    while the statistics of a step are sums over all gates.

    >>> from routers import Items
    >>> weight = torch.tensor([[3.0, 1.0], [2.0, 0.0]])
    >>> extras = {"sparsity_coefficient": torch.tensor(0.1)}
    >>> routing = Routing.by_mask(Items(torch.zeros(2, 1)), weight, weight > 0, extras=extras)
    >>> round(balanced_sparsity(routing).item(), 4)
    0.3667
    """
    return torch.stack([_of_gate(gate) for gate in routing.gates or (routing,)]).sum()


def _of_gate(gate: Routing) -> Tensor:
    statistics = expert_statistics(gate)
    mass = (statistics.requested_load * statistics.importance).sum()
    return sparsity_coefficient(gate, "balanced_sparsity") * gate.num_experts * mass
