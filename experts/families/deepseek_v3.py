"""DeepSeek-V3."""

from ._base import FAMILIES, SAME, Family, Part, Plan, Weights
from ._parts import glu_experts, shared_glu, sizes


@FAMILIES.register("DeepseekV3MoE")
class DeepseekV3(Family):
    """``sigmoid`` or ``grouped_topk``, ``glu`` experts and shared ones (2412.19437).

    Shared experts are one of their joint width. The correction bias is the router's, with
    ``rate=0``: it stays as it is, as in transformers.
    """

    def plan(self) -> Plan:
        bank, routed = glu_experts(self)
        shared, always = shared_glu(self, "shared_experts", "glu")
        bias = {"router.bias.value": Weights(SAME, ["gate.e_score_correction_bias"])}
        weights = {**routed, **always, **bias}
        return Plan(*sizes(self), router=self._router(), bank=bank, shared=shared, weights=weights)

    def _router(self) -> Part:
        options = {
            "k": self.value("gate.top_k"),
            "weighting": "renormalized" if self.value("gate.norm_topk_prob") else "probability",
            "scale": self.value("gate.routed_scaling_factor"),
            "rate": 0.0,
        }
        groups, kept = self.value("gate.num_group"), self.value("gate.topk_group")
        if groups == kept:  # no group is left out
            return {"name": "sigmoid", **options}
        return {"name": "grouped_topk", "expert_groups": groups, "kept_groups": kept, **options}
