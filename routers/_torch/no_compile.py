"""Parts that ``torch.compile`` leaves as they are."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Result = TypeVar("Result")


def uncompiled(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Run ``function`` as written, also within a compiled module.

    What follows the load has other shapes at every step; tracing it would compile anew each
    time, or fail.
    """
    wrapped: Callable[Given, Result] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return wrapped
