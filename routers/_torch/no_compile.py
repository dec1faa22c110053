"""Functions that ``torch.compile`` does not trace."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from torch._compile import _disable_dynamo

Given = ParamSpec("Given")
Result = TypeVar("Result")


def uncompiled(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Run ``function`` eagerly, also within a compiled module.

    Shapes that depend on the load differ at every step, so tracing would recompile each time or
    fail. ``torch.compiler.disable`` does the same but imports ``torch._dynamo`` at once, which
    takes about as long as ``import torch``; this imports it at the first call.
    """
    return _disable_dynamo(function)
