"""Attention to all positions, to earlier ones, and by distance."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

#: ``(query, key, value, mask) -> seen``. The first three and the result are
#: ``(B, heads, L, width)``; ``mask`` is ``(B, L)`` bool, False at padding, or None.
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def attend_to_all(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Each position attends to all unpadded ones; the result is 0 if all are padding."""
    seen = None if mask is None else mask[:, None, None, :]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen)


def attend_to_past(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Each position attends to itself and the unpadded ones before it.

    >>> value = torch.tensor([1.0, 3.0, 8.0]).view(1, 1, 3, 1)
    >>> equal = torch.zeros_like(value)
    >>> attend_to_past(equal, equal, value, None).flatten().tolist()
    [1.0, 2.0, 4.0]
    """
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    length = mask.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    seen = mask[:, None, None, :] & past
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen)


def rotary(
    attend: Attend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> Tensor:
    """``attend`` with positions: queries and keys are turned, so that scores see distances.

    Use it as ``partial(rotary, attend_to_past)``. Source: Su et al. 2021, 2104.09864, equation 34.
    """
    length, width = query.shape[-2:]
    pair = torch.arange(width // 2, device=query.device, dtype=torch.float32)
    position = torch.arange(length, device=query.device, dtype=torch.float32)
    angle = torch.outer(position, 10000.0 ** (-2 * pair / width))
    return attend(_turned(query, angle), _turned(key, angle), value, mask)


def _turned(x: Tensor, angle: Tensor) -> Tensor:
    """Pairs of values, one from each half, turned by ``angle`` ``(L, width / 2)``."""
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    left, right = x.chunk(2, -1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)
