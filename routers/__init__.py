"""Routers decide which experts work on which items: one strategy, one file."""

from ._router import Router, Traits, routers
from ._torch.float32_state import Kept
from ._torch.no_compile import uncompiled
from ._torch.overrides import drop_outdated, watched
from ._torch.sorting import stable_order
from .conformance.harness import CheckError
from .conformance.suite import check_router, parametrize_with_checks
from .gates import Gate, gates
from .losses import sparsity as sparsity  # registers its terms
from .losses.balance import losses, reads_step
from .losses.levels import step_sums
from .metrics.balance import Balance, BalanceMetric, average_balance, load_cv, max_violation
from .plugins.errors import ConfigError, bad_value, nearest_name, unknown, unknown_option
from .plugins.registry import Registry, import_parts, load_plugins
from .plugins.signature import check_options, fits_hint, hint_mismatch
from .routing.blend import Blend
from .routing.capacity import DROP_ORDERS, check_limit
from .routing.items import Items
from .routing.rounding import ROUNDINGS
from .routing.routing import Routing
from .routing.rule import Rule

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
