"""Gate with parameters that a fixed random network generates."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugins import OptionError
from ..routing import Items
from ._base import GATES, Gate


@GATES.register("hypernetwork")
class Hypernetwork(Gate):
    """A linear gate whose weights a fixed random network generates from a learned embedding.

    ``h = x W``, ``W = f(v)`` with ``f`` a random network of one hidden layer that never changes:
    between a frozen gate, which learns nothing, and a linear gate, which learns ``E D`` numbers,
    this one learns ``width``.

    Source: HyperRouter, Do et al. 2023, 2312.07035. Each layer has a network and an embedding; the
    generated bias of the authors' code is left out, as the linear gate has none.

    Args:
        width: size of the embedding ``v``.
        hidden: width of the hidden layer of ``f``.

    >>> gate = Hypernetwork(64, 8, width=16)
    >>> sum(p.numel() for p in gate.parameters()), gate.weight().shape
    (16, torch.Size([8, 64]))
    """

    inner: Tensor
    outer: Tensor

    def __init__(self, dim: int, outputs: int, *, width: int = 32, hidden: int = 64) -> None:
        super().__init__()
        for name, value in (("width", width), ("hidden", hidden)):
            if value < 1:
                raise OptionError(name, value, "an integer >= 1")
        self.embedding = nn.Parameter(torch.randn(width))
        self.register_buffer("inner", torch.randn(hidden, width) * (2 / width) ** 0.5)
        self.register_buffer("outer", torch.randn(outputs, dim, hidden) * (dim * hidden) ** -0.5)

    def weight(self) -> Tensor:
        """The generated weights ``W``, ``(outputs, D)``."""
        hidden = F.relu(F.linear(self.embedding.to(self.inner.dtype), self.inner))
        return F.linear(hidden, self.outer.flatten(0, 1)).view(self.outer.shape[:2])

    def forward(self, items: Items) -> Tensor:
        return F.linear(items.x, self.weight().to(items.x.dtype))
