"""Gate mass, weighted by a coefficient that the router adapts."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing.routing import Routing
from ._base import LOSSES
from ._statistics import ExpertStatistics, expert_statistics


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
    gates = _of_gates(routing, "sparsity")
    return torch.stack([coefficient * gate.importance.sum() for coefficient, gate in gates]).sum()


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
    found = []
    for coefficient, gate in _of_gates(routing, "balanced_sparsity"):
        mass = (gate.requested_load * gate.importance).sum()
        found.append(coefficient * gate.importance.shape[-1] * mass)
    return torch.stack(found).sum()


def _of_gates(routing: Routing, loss: str) -> Iterator[tuple[Tensor, ExpertStatistics]]:
    """The current weight ``lambda`` of each gate's mass, a scalar, and the gate's statistics."""
    for gate in routing.gates or (routing,):
        if "sparsity_coefficient" not in gate.extras:
            raise ConfigError(
                f"losses.{loss}: this router has no sparsity coefficient; "
                "use losses.entropy, or router=relu"
            )
        yield gate.extras["sparsity_coefficient"], expert_statistics(gate)
