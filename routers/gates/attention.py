"""Attention gate."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugins import OptionError
from ..routing import Items
from ._base import GATES, Gate


@GATES.register("attention")
class Attention(Gate):
    """Attention of an item and its group's pooled context over one key per expert.

    ``c`` is an attention-pooled mean of the group, ``q = x Q + c R`` and
    ``h_e = q . k_e / sqrt(width)``: scaled dot-product attention (Vaswani et al. 2017,
    equation 1) whose scores are the logits. The context depends on the whole group, including
    later items, so a router with this gate is neither per item nor causal.

    Args:
        width: size of queries and keys.

    >>> gate = Attention(4, 2)
    >>> gate(Items(torch.ones(6, 4), groups=2)).shape
    torch.Size([6, 2])
    """

    per_item: ClassVar[bool] = False
    causal: ClassVar[bool] = False

    def __init__(self, dim: int, outputs: int, *, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise OptionError("width", width, "an integer >= 1")
        self.pool = nn.Parameter(torch.randn(1, dim) * dim**-0.5)
        self.query = nn.Parameter(torch.randn(width, dim) * dim**-0.5)
        self.context = nn.Parameter(torch.randn(width, dim) * dim**-0.5)
        self.key = nn.Parameter(torch.randn(outputs, width))

    def forward(self, items: Items) -> Tensor:
        x = items.x
        pool, query, context, key = (
            p.to(x.dtype) for p in (self.pool, self.query, self.context, self.key)
        )
        grouped = items.grouped(x)
        score = F.linear(grouped, pool)
        if items.mask is not None:
            # a finite minimum keeps a group of padding only finite
            floor = torch.finfo(score.dtype).min
            score = score.masked_fill(~items.grouped(items.mask).unsqueeze(-1), floor)
        pooled = (score.softmax(1) * grouped).sum(1, keepdim=True)
        q = F.linear(grouped, query) + F.linear(pooled, context)
        return F.linear(q * key.shape[1] ** -0.5, key).flatten(0, 1)
