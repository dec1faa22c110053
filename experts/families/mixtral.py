"""Mixtral."""

from routers import OptionError

from ._base import FAMILIES, Family, Plan
from ._parts import glu_experts, sizes, softmax_router


@FAMILIES.register("MixtralSparseMoeBlock")
class Mixtral(Family):
    """``topk`` with renormalized weights and ``glu`` experts (2401.04088)."""

    def plan(self) -> Plan:
        jitter = self.value("jitter_noise")
        if jitter:
            raise OptionError(
                "jitter_noise",
                jitter,
                "0.0, as the noise changes the experts' input too",
                "Set block.jitter_noise = 0.0, and give the router the option jitter for noise",
            )
        bank, weights = glu_experts(self)
        router = softmax_router(self, normalized=True)
        return Plan(*sizes(self), router=router, bank=bank, weights=weights)
