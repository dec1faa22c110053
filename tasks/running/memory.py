"""Conversion of out-of-memory errors during model construction to ``ConfigError``."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from routers import ConfigError

#: Words in torch's errors about sizes beyond the memory or the integer range.
_SIGNS = ("allocate", "Storage size", "Overflow")


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn torch's errors about memory into a ``ConfigError``.

    >>> with enough_memory():
    ...     torch.empty(2**60)
    Traceback (most recent call last):
    routers.plugins.errors.ConfigError: the model does not fit in memory; lower moe.num_experts, ...
    """
    try:
        yield
    except (RuntimeError, MemoryError, TypeError) as error:
        short = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not short and not any(sign in str(error) for sign in _SIGNS):
            raise
        raise ConfigError(
            "the model does not fit in memory; lower moe.num_experts, expert.hidden or the "
            "width and depth of the network"
        ) from error
