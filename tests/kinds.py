"""One registered router of every kind, where all of them would take long.

Kinds are told by what routers declare and by what their routings are, so that a new file under
``routers/`` finds its place here unasked.
"""

from collections.abc import Callable, Hashable
from functools import cache

import torch

import routers
from routers import Items

#: Fields that say how assignments lie, or that a routing is more than a sum of outputs.
LAYOUT = ("fan_out", "fan_in", "complete", "candidates", "blend", "merge", "rule")


@cache
def layout(name: str) -> frozenset[str]:
    """The fields of ``LAYOUT`` that a router's routings have, with its defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        router = routers.build(name, 8, 8)
        ids = torch.arange(12)
        router.prepare(ids, torch.randn(12, 3))
        routing = router(Items(torch.randn(12, 8), groups=2, ids=ids, task=ids % 2))
    fields = {field: getattr(routing, field) for field in LAYOUT}
    return frozenset(
        field for field, held in fields.items() if held is not None and held is not False
    )


def is_sum(name: str) -> bool:
    """Whether an item's output is a weighted sum of outputs for that item."""
    return layout(name).isdisjoint({"blend", "merge", "rule"})


def one_of_each(
    kind: Callable[[str], Hashable], among: Callable[[str], bool] = lambda name: True
) -> list[str]:
    """The first router by name of every kind, among those that ``among`` lets through."""
    found: dict[Hashable, str] = {}
    for name in filter(among, routers.available()):
        found.setdefault(kind(name), name)
    return list(found.values())


def traits(name: str) -> routers.Traits:
    """What the router called ``name`` declares."""
    return routers.routers.get_part(name).traits
