"""GPT-OSS."""

from torch import Tensor

from ._base import FAMILIES, INTERLEAVED, SAME, Family, Plan, Weights
from ._parts import sizes, softmax_router


@FAMILIES.register("GptOssMLP")
class GptOss(Family):
    """``topk`` with renormalized weights, a gate with a bias, and ``clamped_glu`` experts."""

    def plan(self) -> Plan:
        router = softmax_router(self, normalized=True, gate="router")
        bank = {
            "name": "clamped_glu",
            "hidden": self.value("experts.down_proj").shape[1],
            "alpha": self.value("experts.alpha"),
            "limit": self.value("experts.limit"),
        }
        weights = {
            "router.gate.weight": Weights(SAME, ["router.weight"]),
            "router.gate.bias": Weights(SAME, ["router.bias"]),
            "bank.gate_and_up": Weights(INTERLEAVED, ["experts.gate_up_proj"]),
            "bank.gate_and_up_bias": Weights(INTERLEAVED, ["experts.gate_up_proj_bias"]),
            "bank.down": Weights(SAME, ["experts.down_proj"]),
            "bank.down_bias": Weights(SAME, ["experts.down_proj_bias"]),
        }
        gate = {"name": "linear", "bias": True}
        return Plan(
            *sizes(self, "router"), router={**router, "gate": gate}, bank=bank, weights=weights
        )

    @staticmethod
    def returned(y: Tensor) -> tuple[Tensor, None]:
        """The output, and nothing in the place of weights that the decoder layer leaves out."""
        return y, None
