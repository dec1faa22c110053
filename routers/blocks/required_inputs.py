"""What only some items come with."""

from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing import Items


def given_ids(items: Items, router: str) -> Tensor:
    """The content id of every item, ``(N,)``; without any, a ``ConfigError`` that says how."""
    if items.ids is None:
        raise ConfigError(
            f"router={router}: needs ids, the content id of every item; "
            "give moe(x, ids=...), or choose a task that has them"
        )
    return items.ids


def given_tasks(items: Items, router: str) -> Tensor:
    """The task of every item, ``(N,)``, 0 for padding, whose task may be anything."""
    if items.task is None:
        raise ConfigError(
            f"router={router}: needs the task, language or domain of every item; "
            "give moe(x, task=...), or choose a task whose data has them"
        )
    return items.task.masked_fill(~items.real(), 0)
