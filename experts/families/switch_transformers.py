"""Switch Transformers."""

from ._base import FAMILIES, PER_EXPERT, SAME, Family, Plan, Weights
from ._parts import sizes


@FAMILIES.register("SwitchTransformersSparseMLP")
class SwitchTransformers(Family):
    """``topk`` of one expert with its probability, and ``mlp`` experts with a ReLU (2101.03961).

    An expert accepts the first ``expert_capacity`` tokens of a sequence; the layer gives the
    others 0, so that they pass through the residual connection. In training ``jitter`` changes the
    gate's input alone; in transformers that of the experts too where both are float32.
    """

    def plan(self) -> Plan:
        self.require_activation("experts.expert_0.act", "ReLU")
        dim, num_experts = sizes(self, "router.classifier")
        weights = {
            f"bank.{own}": Weights(
                PER_EXPERT,
                [f"experts.expert_{e}.{name}.weight" for e in range(num_experts)],
            )
            for own, name in (("up", "wi"), ("down", "wo"))
        }
        weights["router.gate.weight"] = Weights(SAME, ["router.classifier.weight"])
        bias = self.value("router.classifier.bias") is not None
        if bias:
            weights["router.gate.bias"] = Weights(SAME, ["router.classifier.bias"])
        return Plan(
            dim,
            num_experts,
            router={
                "name": "topk",
                "k": 1,
                "weighting": "probability",
                "jitter": self.value("router.jitter_noise"),
                "gate": {"name": "linear", "bias": bias},
            },
            bank={
                "name": "mlp",
                "activation": "relu",
                "hidden": self.value("experts.expert_0.wi.weight").shape[0],
                "dropout": self.value("experts.expert_0.dropout.p"),
            },
            weights=weights,
            options={"capacity": self.value("router.expert_capacity"), "rounding": "absolute"},
        )
