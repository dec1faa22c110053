"""Parts that several families have in common, each with the places of its weights."""

from typing import Any

from ._base import HALVES, PER_EXPERT, SAME, TRANSPOSED, Family, Part, Weights

#: Classes of transformers and of torch that compute SiLU.
SILU = ("SiLU", "SiLUActivation")


def softmax_router(family: Family, normalized: bool, gate: str = "gate") -> Part:
    """Top-K of a softmax, whose weights are scaled to sum to one or left as they are.

    ``gate`` is the name of the module with ``weight`` and ``top_k``.
    """
    weighting = "renormalized" if normalized else "probability"
    return {"name": "topk", "k": family.value(f"{gate}.top_k"), "weighting": weighting}


def sizes(family: Family, gate: str = "gate") -> tuple[int, int]:
    """Width and number of experts, from the weight of the gate."""
    num_experts, dim = family.value(f"{gate}.weight").shape
    return dim, num_experts


def glu_experts(family: Family) -> tuple[Part, dict[str, Weights]]:
    """SwiGLU experts in two stacks, and the weights of bank and gate."""
    family.require_activation("experts.act_fn", *SILU)
    bank: dict[str, Any] = {"name": "glu", "hidden": family.value("experts.down_proj").shape[2]}
    return bank, {
        "router.gate.weight": Weights(SAME, ["gate.weight"]),
        "bank.gate_and_up": Weights(TRANSPOSED, ["experts.gate_up_proj"]),
        "bank.down": Weights(TRANSPOSED, ["experts.down_proj"]),
    }


def shared_glu(family: Family, module: str, name: str) -> tuple[Part, dict[str, Weights]]:
    """A shared SwiGLU of three linear maps, as a bank called ``name`` with one expert."""
    family.require_activation(f"{module}.act_fn", *SILU)
    hidden = family.value(f"{module}.down_proj.weight").shape[1]
    matrices = [f"{module}.{each}_proj.weight" for each in ("gate", "up")]
    return {"name": name, "hidden": hidden}, {
        "shared.gate_and_up": Weights(HALVES, matrices),
        "shared.down": Weights(PER_EXPERT, [f"{module}.down_proj.weight"]),
    }
