"""Routers decide which experts work on which items: one strategy, one file."""

from ._blend import Blend
from ._check import check_router, parametrize_with_checks
from ._checks_subject import CheckError
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
    "CheckError",
    "ConfigError",
    "Gate",
    "Items",
    "Registry",
    "Router",
    "Routing",
    "Traits",
    "available",
    "build",
    "check_router",
    "gates",
    "import_parts",
    "load_plugins",
    "losses",
    "parametrize_with_checks",
    "register",
    "routers",
]
