"""Feed-forward networks with a ReLU."""

from ._bank import EXPERTS
from .kernels.activations import RELU
from .mlp import MLP


@EXPERTS.register("relu_mlp")
class ReluMLP(MLP):
    """A feed-forward network with one hidden layer and a ReLU.

    ``FFN_e(x) = max(x V_e, 0) W_e``, without biases; the arguments are those of ``mlp``.

    Source: Vaswani et al. 2017, 1706.03762, equation 2, without its biases; the experts of the
    Switch Transformer as transformers has them.

    >>> import torch
    >>> bank = ReluMLP(1, 1, hidden=2)
    >>> bank.load_state_dict({"up": torch.tensor([[[1.0, -1.0]]]), "down": torch.ones(1, 2, 1)})
    <All keys matched successfully>
    >>> bank(torch.tensor([[3.0], [-2.0]]), torch.tensor([2])).flatten().tolist()
    [3.0, 2.0]
    """

    activation = RELU
