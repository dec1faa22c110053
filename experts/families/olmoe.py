"""OLMoE."""

from ._base import FAMILIES, Family, Plan
from ._parts import glu_experts, sizes, softmax_router


@FAMILIES.register("OlmoeSparseMoeBlock")
class Olmoe(Family):
    """``topk``, whose weights are renormalized or not, and ``glu`` experts (2409.02060)."""

    def plan(self) -> Plan:
        bank, weights = glu_experts(self)
        router = softmax_router(self, normalized=self.value("gate.norm_topk_prob"))
        return Plan(*sizes(self), router=router, bank=bank, weights=weights)
