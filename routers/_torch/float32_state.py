"""State that stays in float32."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Float32State(nn.Module):
    """A module whose buffers move between devices but keep their type.

    Small updates vanish in half precision: 0.25 + 0.0005 is 0.25 in bfloat16.

    >>> import torch
    >>> state = Float32State()
    >>> state.register_buffer("value", torch.zeros(1))
    >>> state.to(torch.bfloat16).value.dtype
    torch.float32
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Float32State":
        device = fn(torch.zeros(0, dtype=torch.int64)).device  # integers are moved, not cast
        return super()._apply(lambda values: values.to(device), recurse)  # type: ignore[no-untyped-call]
