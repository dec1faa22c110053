"""Traps 3 and 4: what a capacity keeps."""

from routers import Routing
from routers.routing import DROP_ORDERS, ROUNDINGS

from ._planted import Planted


def round_down(patch):
    patch.setitem(ROUNDINGS, "ceil", ROUNDINGS["floor"])


def heaviest_first(patch):
    patch.setitem(DROP_ORDERS, "position", DROP_ORDERS["probability"])


def always_renormalize(patch):
    drop = Routing.drop
    patch.setattr(
        Routing, "drop", lambda self, keep, renormalize=False: drop(self, keep, renormalize=True)
    )


PLANTS = [
    Planted(3, round_down, "capacity", "capacity"),
    Planted(4, heaviest_first, "capacity_is_causal", "sort by place and not by weight"),
    Planted(4, always_renormalize, "drops_keep_weights", "changed a weight that it keeps"),
]
