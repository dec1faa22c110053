"""A routed layer: a bank of experts and a router, or a router per gate."""

from typing import Any

import routers
from experts import Bank, GateTopology, MoE, MultiGateMoE


def build_layer(
    bank: Bank, *, router: tuple[str, dict[str, Any]], wiring: GateTopology | None, **settings: Any
) -> MoE:
    """Build the layer around ``bank``.

    Args:
        bank: the experts.
        router: name and options of the router, or of the router of every gate.
        wiring: the experts that each gate can choose, and its input; None for one gate over all.
        settings: keyword arguments of ``MoE``.

    Raises:
        ConfigError: if the parts do not fit together.

    >>> import experts
    >>> build_layer(experts.build("mlp", 8, 4), router=("topk", {"k": 2}), wiring=None).num_gates
    1
    """
    name, options = router
    if wiring is None:
        return MoE(routers.build(name, bank.dim, bank.num_experts, **options), bank, **settings)
    gates = [
        routers.build(name, bank.dim, len(branch.experts), **options) for branch in wiring.branches
    ]
    return MultiGateMoE(gates, bank, wiring, **settings)
