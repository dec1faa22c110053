"""Gated feed-forward networks: one linear map scales another."""

from ._bank import EXPERTS
from .kernels.activations import SWIGLU
from .mlp import MLP


@EXPERTS.register("glu")
class GLU(MLP):
    """A feed-forward network with a gate, the SwiGLU.

    ``FFN_e(x) = (silu(x G_e) * x V_e) W_e``, without biases. Three matrices: at two thirds of
    the ``hidden`` of an ``mlp``, which has the same arguments, it has the same cost.

    Source: Shazeer 2020, 2002.05202, equation 6.

    >>> GLU(4, 2, hidden=8).flops((4,))  # 2 * 4 * 8 for each of three matrices
    (192, 192)
    """

    expert_parameters: tuple[str, ...] = ("gate_and_up", "down")
    activation = SWIGLU
    num_inputs = 2
