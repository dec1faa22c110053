"""Qwen2-MoE."""

from dataclasses import replace

from ._base import FAMILIES, PER_EXPERT, Plan, Weights
from ._parts import shared_glu
from .olmoe import Olmoe


@FAMILIES.register("Qwen2MoeSparseMoeBlock")
class Qwen2Moe(Olmoe):
    """Router and experts of OLMoE's block, and a shared expert scaled by a sigmoid."""

    def plan(self) -> Plan:
        routed = super().plan()
        shared, weights = shared_glu(self, "shared_expert", "self_gated_glu")
        weights["shared.scale"] = Weights(PER_EXPERT, ["shared_expert_gate.weight"])
        return replace(routed, shared=shared, weights={**routed.weights, **weights})
