"""Prototype gate."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugins import OptionError
from ..routing import Items
from ._base import GATES, Gate


@GATES.register("prototype")
class Prototype(Gate):
    """``h_e = -|z - c_e|^2 / (2 sqrt(width))``, the distance of a latent item to a prototype.

    ``z = silu(norm(x)) W + b`` is a code of low width, ``norm`` a layer norm without parameters,
    and prototypes ``c`` start on a sphere, so that none is closer to all items than others.

    Source: latent prototype routing, Yang 2025, 2506.21328, the encoder without a variance, with
    the Gaussian kernel of its list of similarities. Its terms for alignment, diversity and the
    variance of codes are not part of a gate and left out.

    Args:
        width: size of codes and prototypes.

    >>> gate = Prototype(4, 2, width=4)
    >>> _ = gate.encode.data.zero_(), gate.bias.data.copy_(gate.prototype[1])
    >>> gate(Items(torch.randn(3, 4)))[:, 1].abs().max().item() < 1e-5  # every code is prototype 1
    True
    """

    def __init__(self, dim: int, outputs: int, *, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise OptionError("width", width, "an integer >= 1")
        self.encode = nn.Parameter(torch.randn(width, dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        radius = width**0.5
        self.prototype = nn.Parameter(radius * F.normalize(torch.randn(outputs, width), dim=-1))

    def forward(self, items: Items) -> Tensor:
        x = items.x
        encode, bias, prototype = (p.to(x.dtype) for p in (self.encode, self.bias, self.prototype))
        code = F.linear(F.silu(F.layer_norm(x, x.shape[1:])), encode, bias)
        # the square of the difference in parts: (N, E, width) is never built
        inner = F.linear(code, prototype)
        square = code.square().sum(-1, keepdim=True) + prototype.square().sum(-1)
        return (inner - square / 2) * prototype.shape[1] ** -0.5
