"""Models too large for the machine, said before training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from routers import ConfigError

#: What torch says when a size is more than there is, or more than it can count.
_SIGNS = ("allocate", "Storage size", "Overflow")


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turns torch's ways of saying that memory is short into a ``ConfigError``.

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
            "the model does not fit in memory; lower moe.num_experts, expert.hidden, task.dim "
            "or task.depth"
        ) from error
