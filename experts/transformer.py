"""Transformer blocks over a sequence."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import OptionError

from ._bank import EXPERTS, Bank, check_hidden, stacked
from .kernels.grouped import linear_by_position


@EXPERTS.register("transformer")
class Transformer(Bank):
    """A transformer block over a sequence: attention, then a feed-forward network.

    ``y = a + b`` with ``a = attention(norm(x))`` and ``b = ffn(norm(x + a))``: an update, to
    which the caller adds ``x`` as for any expert.

    Whole sequences are routed: a row is ``(L, D)``. Every position attends to every real one;
    there is no causal form, as a router of whole samples sees later positions. Norms are RMS
    norms with a scale per expert, the feed-forward part has an exact GELU; no biases.

    Source: Vaswani et al. 2017, 1706.03762, section 3; norms first, Xiong et al. 2020,
    2002.04745; RMS norm, Zhang and Sennrich 2019, 1910.07467, equation 4.

    Args:
        hidden: ``H``, the hidden width of the feed-forward part; ``4 * dim`` if None.
        heads: attention heads, a divisor of ``dim``.

    >>> bank = Transformer(4, 1, hidden=8, heads=2)
    >>> bank.flops((3, 4))  # 3 * 2 * (4 * 16 + 2 * 32) for weights, 4 * 9 * 4 for attention
    (912,)
    """

    row_axes = ("L", "D")
    expert_parameters = ("attention_scale", "query_key_value", "project", "ffn_scale", "up", "down")

    def __init__(
        self, dim: int, num_experts: int, *, hidden: int | None = None, heads: int = 4
    ) -> None:
        super().__init__(dim, num_experts)
        self.hidden = check_hidden(hidden, 4 * dim)
        if heads < 1 or dim % heads:
            raise OptionError("heads", heads, f"a divisor of the width {dim}")
        self.heads = heads
        self.attention_scale = nn.Parameter(torch.ones(num_experts, dim))
        self.query_key_value = stacked(num_experts, dim, 3 * dim)
        self.project = stacked(num_experts, dim, dim)
        self.ffn_scale = nn.Parameter(torch.ones(num_experts, dim))
        self.up = stacked(num_experts, dim, self.hidden)
        self.down = stacked(num_experts, self.hidden, dim)

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        attended = self._attend(_norm(rows, self.attention_scale, load), load, mask)
        middle = _norm(rows + attended, self.ffn_scale, load)
        inner = F.gelu(linear_by_position(middle, self.up, load))
        out = attended + linear_by_position(inner, self.down, load)
        return out if mask is None else out.masked_fill(~mask.unsqueeze(-1), 0.0)

    def _attend(self, rows: Tensor, load: Tensor, mask: Tensor | None) -> Tensor:
        """Attention within each row; only its projections differ by expert."""
        parts = linear_by_position(rows, self.query_key_value, load).chunk(3, -1)
        apart = (*rows.shape[:2], self.heads, self.dim // self.heads)
        q, k, v = (part.reshape(apart).transpose(1, 2) for part in parts)
        seen = None
        if mask is not None:
            # a row that is all padding attends to itself, as its softmax would be 0/0
            seen = (mask | ~mask.any(1, keepdim=True))[:, None, None, :]
        mean = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return linear_by_position(mean.transpose(1, 2).flatten(2), self.project, load)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        length, d = row_shape
        weights = 2 * length * (4 * d * d + 2 * d * self.hidden)
        return (weights + 4 * length * length * d,) * self.num_experts


def _norm(rows: Tensor, scale: Tensor, load: Tensor) -> Tensor:
    """RMS norm of ``(A, L, D)`` with the scale ``(E, D)`` of each row's expert."""
    own = scale.repeat_interleave(load, 0, output_size=rows.shape[0]).unsqueeze(1)
    return F.rms_norm(rows, rows.shape[-1:]) * own.to(rows.dtype)
