"""Readings of each gate of a routing, for losses that few routers support."""

from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing.routing import Routing


def sparsity_coefficient(routing: Routing, loss: str) -> Tensor:
    """The current weight ``lambda`` of a gate's mass, a scalar."""
    if "sparsity_coefficient" not in routing.extras:
        raise ConfigError(
            f"losses.{loss}: this router has no sparsity coefficient; "
            "use losses.entropy, or router=relu"
        )
    return routing.extras["sparsity_coefficient"]


def selectors(routing: Routing, loss: str) -> list[Tensor]:
    """Selectors of each gate over real items, ``(N, S, E)`` each."""
    gates = [gate for gate in routing.gates or (routing,) if "selectors" in gate.extras]
    found = [gate.unpadded(gate.extras["selectors"]) for gate in gates]
    if not found:
        raise ConfigError(
            f"losses.{loss}: this router has no selectors; use losses.entropy, or router=dselect_k"
        )
    return found


def item_mean(values: Tensor) -> Tensor:
    """Mean over items of the sum over selectors of ``values`` ``(N, S)``; 0 without items."""
    return values.sum() / max(len(values), 1)
