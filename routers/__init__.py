"""Routers decide which experts work on which items: one strategy, one file."""

from ._router import ROUTERS, Router, Traits
from ._torch.float32_state import Float32State
from ._torch.no_compile import uncompiled
from ._torch.overrides import drop_outdated, watched
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
from .routing import (
    DROP_ORDERS,
    ROUNDINGS,
    Combine,
    Items,
    Merge,
    OutputCombiner,
    Routing,
    Slots,
    check_capacity_options,
    stable_order,
)

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
    "CheckError",
    "Combine",
    "ConfigError",
    "Float32State",
    "Gate",
    "Items",
    "Merge",
    "OptionError",
    "OutputCombiner",
    "Registry",
    "Router",
    "Routing",
    "Slots",
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
