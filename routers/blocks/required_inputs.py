"""Optional inputs that a router requires: content ids, tasks, routes, weights of experts."""

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


def require_projections(items: Items, num_experts: int, router: str) -> Tensor:
    """The first projection of every expert, ``(E, D, P)``, in the type of the items.

    ``ConfigError`` if there is none or it does not fit.
    """
    if items.projections is None:
        raise ConfigError(
            f"router={router}: needs projections, the matrices by which experts read items; call "
            "an MoE layer with experts that have them, such as mlp, or give Items(projections=...)"
        )
    if items.projections.shape[:2] != (num_experts, items.x.shape[1]):
        has = tuple(items.projections.shape)
        raise ConfigError(
            f"router={router}: projections have the shape {has}: expected "
            f"(E={num_experts}, D={items.x.shape[1]}, P)"
        )
    return items.projections.to(items.x.dtype)


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
