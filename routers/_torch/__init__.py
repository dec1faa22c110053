"""Small additions to torch: float32 state, functions outside compilation, hooks, ranks."""

from collections.abc import Callable
from operator import attrgetter
from typing import ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._compile import _disable_dynamo

__all__ = [
    "Float32State",
    "call_hooks",
    "gathered",
    "holds",
    "is_distributed",
    "sum_over_ranks",
    "uncompiled",
]

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


def holds(condition: Tensor, problem: str) -> bool:
    """Whether a condition on values is true; a traced graph asserts it when it runs.

    >>> holds(torch.tensor(3) > 4, "3 is not above 4")
    False
    """
    if torch.compiler.is_compiling():
        torch._assert_async(condition, problem)
        return True
    return bool(condition)


def uncompiled(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Run ``function`` eagerly, also within a compiled module.

    Shapes that depend on the load differ at every step, so tracing would recompile each time or
    fail. ``torch.compiler.disable`` does the same but imports ``torch._dynamo`` at once, which
    takes about as long as ``import torch``; this imports it at the first call.
    """
    return _disable_dynamo(function)


def sum_over_ranks(values: Tensor) -> Tensor:
    """A new tensor: the sum over all ranks.

    >>> sum_over_ranks(torch.tensor([1, 2])).tolist()
    [1, 2]
    """
    values = values.clone()
    if is_distributed() and values.numel():
        dist.all_reduce(values)
    return values


def gathered(values: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded over processes; gradients go back to the shards.

    >>> gathered(torch.ones(2)).tolist()
    [1.0, 1.0]
    """
    full = getattr(values, "full_tensor", None)  # of a DTensor, whose module is slow to import
    whole: Tensor = values if full is None else full()
    return whole


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized()
