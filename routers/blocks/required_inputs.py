"""Optional inputs that a router requires: content ids, tasks and recorded routes."""

from torch import Tensor

from ..plugins import ConfigError
from ..routing import Items, Routing


def require_ids(items: Items, router: str) -> Tensor:
    """The content id of every item, ``(N,)``; a ``ConfigError`` if there are none."""
    if items.ids is None:
        raise ConfigError(
            f"router={router}: needs ids, the content id of every item; "
            "give moe(x, ids=...), or choose a task that has them"
        )
    return items.ids


def require_tasks(items: Items, router: str) -> Tensor:
    """The task of every item, ``(N,)``, 0 for padding; a ``ConfigError`` if there are none."""
    if items.task is None:
        raise ConfigError(
            f"router={router}: needs the task, language or domain of every item; "
            "give moe(x, task=...), or choose a task whose data has them"
        )
    return items.task.masked_fill(~items.real(), 0)


def require_recorded(items: Items, num_experts: int, router: str) -> Routing:
    """The recorded routes of the items; a ``ConfigError`` if there are none that fit."""
    if items.recorded is None:
        raise ConfigError(
            f"router={router}: needs recorded routes; run the model in "
            "experts.replay(model, routes), or give a run router.of=DIR"
        )
    check_recorded(items.recorded, num_experts, f"router={router}")
    return items.recorded


def check_recorded(routing: Routing, num_experts: int, what: str) -> None:
    """Raise ``ConfigError`` about ``what`` unless a layer of so many experts can replay routes."""
    if routing.num_experts != num_experts:
        raise ConfigError(
            f"{what}: the recorded routes are to {routing.num_experts} experts, and the layer has "
            f"{num_experts}; replay routes of a layer with as many"
        )
    if not routing.supports_dropping:
        form = type(routing.execution).__name__.lower()
        raise ConfigError(
            f"{what}: the recorded routes are through {form}, which assign no items to experts; "
            "replay routes of another router"
        )
