"""The registry of auxiliary losses."""

from collections.abc import Callable
from typing import get_args, get_type_hints

from torch import Tensor

from ..plugins.registry import Registry

#: ``(routing, **options) -> scalar``; the options are the function's keyword arguments.
Loss = Callable[..., Tensor]

LOSSES: Registry[Tensor] = Registry("losses", base=None, group="switchyard.losses", positional=1)


def levels_of(loss: Loss) -> tuple[str, ...]:
    """The values that the argument ``level`` of a loss may take; empty if it has no such argument.

    >>> levels_of(LOSSES["load"]), levels_of(LOSSES["z"])
    (('batch', 'step'), ())
    """
    return get_args(get_type_hints(loss).get("level"))
