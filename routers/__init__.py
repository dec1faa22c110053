"""Routers decide which experts work on which items: one strategy, one file."""

from ._router import ROUTERS, Router, Traits
from ._torch.float32_state import Float32State
from ._torch.no_compile import uncompiled
from ._torch.overrides import drop_outdated, watched
from ._torch.sorting import stable_order
from .conformance.harness import CheckError
from .conformance.suite import check_router, parametrize_with_checks
from .gates import GATES, Gate
from .losses import sparsity as sparsity  # registers its terms
from .losses.balance import LOSSES, reads_step
from .losses.levels import step_sums
from .metrics.balance import Balance, BalanceMetric, average_balance, load_cv, max_violation
from .plugins.errors import ConfigError, OptionError, nearest_name, unknown, unknown_option
from .plugins.registry import Registry, import_parts, load_plugins
from .plugins.signature import check_options, fits_hint, hint_mismatch
from .routing.blend import Blend
from .routing.capacity import DROP_ORDERS, check_capacity_options
from .routing.items import Items
from .routing.rounding import ROUNDINGS
from .routing.routing import Routing
from .routing.rule import OutputCombiner

register = ROUTERS.register
build = ROUTERS.build
available = ROUTERS.available

import_parts(__name__, __path__)

__all__ = [
    "DROP_ORDERS",
    "GATES",
    "LOSSES",
    "ROUNDINGS",
    "ROUTERS",
    "Balance",
    "BalanceMetric",
    "Blend",
    "CheckError",
    "ConfigError",
    "Float32State",
    "Gate",
    "Items",
    "OptionError",
    "OutputCombiner",
    "Registry",
    "Router",
    "Routing",
    "Traits",
    "available",
    "average_balance",
    "build",
    "check_capacity_options",
    "check_options",
    "check_router",
    "drop_outdated",
    "fits_hint",
    "hint_mismatch",
    "import_parts",
    "load_cv",
    "load_plugins",
    "max_violation",
    "nearest_name",
    "parametrize_with_checks",
    "reads_step",
    "register",
    "stable_order",
    "step_sums",
    "uncompiled",
    "unknown",
    "unknown_option",
    "watched",
]
