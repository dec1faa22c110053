"""One registered router of every kind, where all of them would take long.

Labeling are told by what routers declare and by what their routings are, so that a new file under
``routers/`` finds its place here unasked.
"""

from collections.abc import Callable, Hashable
from functools import cache

import torch

import routers
from routers import ConfigError, Items

#: Fields that say how assignments lie, or that a routing is more than a sum of outputs.
LAYOUT = ("fan_out", "fan_in", "is_dense", "candidates", "blend", "merge", "rule")


@cache
def layout(name: str) -> frozenset[str]:
    """The fields of ``LAYOUT`` that a router's routings have, with its defaults.

    ``single`` is among them where a ``fan_out`` is 1: one row for an item is a case of its own.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        router = routers.build(name, 8, 8)
        ids = torch.arange(12)
        router.prepare(ids, torch.randn(12, 3))
        routing = router(Items(torch.randn(12, 8), groups=2, ids=ids, task=ids % 2))
    fields = {field: getattr(routing, field) for field in LAYOUT}
    held = {field for field, value in fields.items() if value is not None and value is not False}
    return frozenset(held | ({"single"} if routing.fan_out == 1 else set()))


def by_item(name: str) -> bool:
    """Whether every item chooses among all experts, and all items as many, one or more."""
    return layout(name) - {"single"} == {"fan_out"}


def is_sum(name: str) -> bool:
    """Whether an item's output is a weighted sum of outputs for that item."""
    return layout(name).isdisjoint({"blend", "merge", "rule"})


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
