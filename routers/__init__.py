"""Routers decide which experts work on which items: one strategy, one file."""

from ._blend import Blend
from ._errors import ConfigError
from ._items import Items
from ._limit import DROP_ORDERS
from ._losses import losses
from ._metrics import Balance, BalanceMetric
from ._registry import Registry, import_parts, load_plugins
from ._router import Router, Traits, routers
from ._routing import Routing
from .gates import Gate, gates

register = routers.register
build = routers.build
available = routers.available

import_parts(__name__, __path__)

__all__ = [
    "DROP_ORDERS",
    "Balance",
    "BalanceMetric",
    "Blend",
    "ConfigError",
    "Gate",
    "Items",
    "Registry",
    "Router",
    "Routing",
    "Traits",
    "available",
    "build",
    "gates",
    "load_plugins",
    "losses",
    "register",
    "routers",
]
