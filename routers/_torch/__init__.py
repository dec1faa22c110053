"""Small additions to torch: float32 state, functions outside compilation, hooks."""

from collections.abc import Callable
from operator import attrgetter
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo

__all__ = ["Float32State", "call_hooks", "uncompiled"]

Given = ParamSpec("Given")
Result = TypeVar("Result")

#: Returns a module's hooks on calls of ``forward``; a method that replaces such a call skips them.
call_hooks = attrgetter(
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
)


class Float32State(nn.Module):
    """A module whose buffers move between devices but keep their type.

    Small updates vanish in half precision: 0.25 + 0.0005 is 0.25 in bfloat16.

    >>> state = Float32State()
    >>> state.register_buffer("value", torch.zeros(1))
    >>> state.to(torch.bfloat16).value.dtype
    torch.float32
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Float32State":
        device = fn(torch.zeros(0, dtype=torch.int64)).device  # integers are moved, not cast
        return super()._apply(lambda values: values.to(device), recurse)  # type: ignore[no-untyped-call]


def uncompiled(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Run ``function`` eagerly, also within a compiled module.

    Shapes that depend on the load differ at every step, so tracing would recompile each time or
    fail. ``torch.compiler.disable`` does the same but imports ``torch._dynamo`` at once, which
    takes about as long as ``import torch``; this imports it at the first call.
    """
    return _disable_dynamo(function)
