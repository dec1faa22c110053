"""A sample of registered routers, one for each kind, for tests that are slow with all of them.

Kinds follow from the traits of routers and the fields of their routings, so a new file under
``routers/`` needs no entry here.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import cache

import torch

import routers
from routers import ConfigError, Items, Routing

#: Fields that describe the order of assignments and the experts that are scored.
LAYOUT = ("fan_out", "fan_in", "is_dense", "candidates")


@cache
def layout(name: str) -> frozenset[str]:
    """The fields of ``LAYOUT`` that a router's routings have, and their form of execution.

    ``single`` is added for a ``fan_out`` of 1, which the engine treats separately.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        router = routers.build(name, 8, 8)
        ids = torch.arange(12)
        router.prepare(ids, torch.randn(12, 3))
        routing = router(with_routes(Items(torch.randn(12, 8), groups=2, ids=ids, task=ids % 2)))
    fields = {field: getattr(routing, field) for field in LAYOUT}
    held = {field for field, value in fields.items() if value is not None and value is not False}
    if routing.execution is not None:
        held.add(type(routing.execution).__name__)
    return frozenset(held | ({"single"} if routing.fan_out == 1 else set()))


def with_routes(items: Items, num_experts: int = 8) -> Items:
    """Items with what not every router reads: recorded routes and projections of experts.

    The routes are two experts by position.
    """
    place = torch.arange(len(items)).unsqueeze(1)
    expert = torch.cat([place, place * 3 + 1], 1) % num_experts
    expert[:, 1] += expert[:, 0] == expert[:, 1]
    weight = torch.tensor([0.75, 0.25]).expand(len(items), 2)
    return replace(
        items,
        recorded=Routing.by_item(items, expert % num_experts, weight, num_experts),
        projections=random_projections(items.x.shape[1], num_experts).to(items.x),
    )


def random_projections(dim: int, num_experts: int) -> torch.Tensor:
    """``(E, D, 3)``, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_experts, dim, 3, generator=generator)


def by_item(name: str) -> bool:
    """Whether every item chooses among all experts, and all items as many, one or more."""
    return layout(name) - {"single"} == {"fan_out"}


def is_sum(name: str) -> bool:
    """Whether an item's output is a weighted sum of outputs for that item."""
    return layout(name).isdisjoint({"Slots", "Merge", "Combine", "Defaults"})


def joins(name: str) -> bool:
    """Whether several of the routers can be gates of one layer."""
    return "Defaults" not in layout(name)


def one_of_each(
    kind: Callable[[str], Hashable], among: Callable[[str], bool] = lambda name: True
) -> list[str]:
    """The plainest router of every kind, among those that ``among`` lets through."""
    found: dict[Hashable, str] = {}
    for name in sorted(filter(among, routers.available()), key=_special):
        found.setdefault(kind(name), name)
    return list(found.values())


@cache
def _special(name: str) -> tuple[bool, ...]:
    """Whether little is learned, experts have to be of a certain number, gradients are estimates.

    Any of these would let a test see less of the others of its kind.
    """
    try:
        routers.build(name, 8, 7)
    except ConfigError:
        fits = False
    else:
        fits = True
    return not traits(name).learned, not fits, not traits(name).exact_gradients


def traits(name: str) -> routers.Traits:
    """What the router called ``name`` declares."""
    return routers.ROUTERS.get_part(name).traits


#: Routers that route items by themselves, without routes recorded elsewhere.
SELECTING = [name for name in routers.available() if not traits(name).needs_recorded]
