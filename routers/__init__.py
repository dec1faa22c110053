"""Routers decide which experts work on which items: one strategy, one file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._router import ROUTERS, Router, Traits
from .gates import GATES, Gate
from .losses import sparsity as sparsity  # registers its terms
from .losses.balance import LOSSES, reads_step
from .losses.levels import step_sums
from .plugins import ConfigError, OptionError, import_parts
from .routing import Items, Routing

if TYPE_CHECKING:
    from .conformance.harness import CheckError
    from .conformance.suite import check_router, parametrize_with_checks
    from .metrics.balance import Balance, BalanceMetric, average_balance, load_cv, max_violation

register = ROUTERS.register
build = ROUTERS.build
available = ROUTERS.available

import_parts(__name__, __path__)

#: Names whose modules import more than torch: loaded at their first use.
_LAZY = {
    "CheckError": ".conformance.harness",
    "check_router": ".conformance.suite",
    "parametrize_with_checks": ".conformance.suite",
    "Balance": ".metrics.balance",
    "BalanceMetric": ".metrics.balance",
    "average_balance": ".metrics.balance",
    "load_cv": ".metrics.balance",
    "max_violation": ".metrics.balance",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "GATES",
    "LOSSES",
    "ROUTERS",
    "Balance",
    "BalanceMetric",
    "CheckError",
    "ConfigError",
    "Gate",
    "Items",
    "OptionError",
    "Router",
    "Routing",
    "Traits",
    "available",
    "average_balance",
    "build",
    "check_router",
    "load_cv",
    "max_violation",
    "parametrize_with_checks",
    "reads_step",
    "register",
    "step_sums",
]
