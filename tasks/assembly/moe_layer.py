"""A bank and the routers in front of it, one or one per gate, as a layer."""

from typing import Any

import routers
from experts import Bank, GateTopology, MoE, MultiGateMoE


def assembled(
    bank: Bank, *, router: tuple[str, dict[str, Any]], wiring: GateTopology | None, **settings: Any
) -> MoE:
    """The layer around ``bank``.

    Args:
        bank: who works.
        router: name and options of the gate, or of every gate.
        wiring: who may choose whom, where there are several gates or streams; None for one
            gate over all experts.
        settings: of ``MoE``.

    Raises:
        ConfigError: where the parts do not fit.

    >>> import experts
    >>> assembled(experts.build("mlp", 8, 4), router=("topk", {"k": 2}), wiring=None).num_gates
    1
    """
    name, options = router
    if wiring is None:
        return MoE(routers.build(name, bank.dim, bank.num_experts, **options), bank, **settings)
    gates = [
        routers.build(name, bank.dim, len(branch.experts), **options) for branch in wiring.branches
    ]
    return MultiGateMoE(gates, bank, wiring, **settings)
