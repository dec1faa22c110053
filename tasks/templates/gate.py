"""A gate: the score of every expert for every item."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import GATES, Gate, Items, OptionError


@GATES.register("my_gate")
class MyGate(Gate):
    """``h = tanh(x V) W``: scores of bounded features.

    Replace this by what your gate does: lists show the first line of a docstring.

    Args:
        hidden: number of features.

    >>> MyGate(4, 2, hidden=3)(Items(torch.ones(5, 4))).shape
    torch.Size([5, 2])
    """

    # The checks prove both: scores of an item depend on that item only, or never on later items.
    per_item = True
    causal = True

    # Keyword arguments are the options: router.gate.hidden=8 on the command line.
    def __init__(self, dim: int, outputs: int, *, hidden: int = 32) -> None:
        super().__init__()
        if hidden < 1:
            raise OptionError("hidden", hidden, "an integer >= 1")
        self.inner = nn.Parameter(torch.randn(hidden, dim) * dim**-0.5)
        self.outer = nn.Parameter(torch.randn(outputs, hidden) * hidden**-0.5)

    def forward(self, items: Items) -> Tensor:
        """Logits ``(N, outputs)`` of ``items.x`` ``(N, D)``, in the dtype of the items."""
        hidden = F.linear(items.x, self.inner.to(items.x.dtype)).tanh()
        return F.linear(hidden, self.outer.to(items.x.dtype))
