"""Routers decide which experts work on which items: one strategy, one file."""

from . import _losses_sparsity as _losses_sparsity  # registers its terms
from ._blend import Blend
from ._check import check_router, parametrize_with_checks
from ._checks_subject import CheckError
from ._compile import uncompiled
from ._errors import ConfigError, bad_value, nearest_name, unknown, unknown_option
from ._items import Items
from ._kept import Kept
from ._limit import DROP_ORDERS, check_limit
from ._losses import losses, reads_step
from ._metrics import Balance, BalanceMetric, average_balance, load_cv, max_violation
from ._options import check_options, fits_hint, hint_mismatch
from ._order import stable_order
from ._override import drop_outdated, watched
from ._registry import Registry, import_parts, load_plugins
from ._rounding import ROUNDINGS
from ._router import Router, Traits, routers
from ._routing import Routing
from ._rule import Rule
from ._shares import step_sums
from .gates import Gate, gates

register = routers.register
build = routers.build
available = routers.available

import_parts(__name__, __path__)

__all__ = [
    "DROP_ORDERS",
    "ROUNDINGS",
    "Balance",
    "BalanceMetric",
    "Blend",
    "CheckError",
    "ConfigError",
    "Gate",
    "Items",
    "Kept",
    "Registry",
    "Router",
    "Routing",
    "Rule",
    "Traits",
    "available",
    "average_balance",
    "bad_value",
    "build",
    "check_limit",
    "check_options",
    "check_router",
    "drop_outdated",
    "fits_hint",
    "gates",
    "hint_mismatch",
    "import_parts",
    "load_cv",
    "load_plugins",
    "losses",
    "max_violation",
    "nearest_name",
    "parametrize_with_checks",
    "reads_step",
    "register",
    "routers",
    "stable_order",
    "step_sums",
    "uncompiled",
    "unknown",
    "unknown_option",
    "watched",
]
