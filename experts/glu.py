"""Gated feed-forward networks: one linear map scales another."""

from collections.abc import Mapping
from typing import ClassVar

from ._bank import EXPERTS
from .kernels.activations import SWIGLU, Activation
from .mlp import MLP


@EXPERTS.register("glu")
class GLU(MLP):
    """A feed-forward network with a gate, the SwiGLU.

    ``FFN_e(x) = (silu(x G_e) * x V_e) W_e``, without biases. Three matrices: at two thirds of
    the ``hidden`` of an ``mlp``, whose arguments it has without ``activation``, it has the same
    cost.

    Source: Shazeer 2020, 2002.05202, equation 6.

    >>> GLU(4, 2, hidden=8).flops((4,))  # 2 * 4 * 8 for each of three matrices
    (192, 192)
    """

    expert_parameters: tuple[str, ...] = ("gate_and_up", "down")
    activations: ClassVar[Mapping[str, Activation]] = {"silu": SWIGLU}
    num_inputs = 2

    def __init__(
        self, dim: int, num_experts: int, *, hidden: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__(dim, num_experts, hidden=hidden, dropout=dropout, activation="silu")
