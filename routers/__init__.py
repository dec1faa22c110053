"""Routers decide which experts work on which items: one strategy, one file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._router import ROUTERS, Router, Traits
from .gates import GATES, Gate
from .losses import LOSSES, step_sums
from .metrics import load_cv, max_violation
from .plugins import ConfigError, OptionError, import_parts
from .routing import Items, Routing

if TYPE_CHECKING:
    from .conformance import CheckError, check_router, parametrize_with_checks
    from .metrics import METRICS, LayerMetrics, RoutingMetric, average_over_layers

register = ROUTERS.register
build = ROUTERS.build
available = ROUTERS.available

import_parts(__name__, __path__)

#: Names whose modules import more than torch: loaded at their first use.
_LAZY = {
    "METRICS": ".metrics",
    "LayerMetrics": ".metrics",
    "RoutingMetric": ".metrics",
    "average_over_layers": ".metrics",
    "CheckError": ".conformance",
    "check_router": ".conformance",
    "parametrize_with_checks": ".conformance",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "GATES",
    "LOSSES",
    "METRICS",
    "ROUTERS",
    "CheckError",
    "ConfigError",
    "Gate",
    "Items",
    "LayerMetrics",
    "OptionError",
    "Router",
    "Routing",
    "RoutingMetric",
    "Traits",
    "available",
    "average_over_layers",
    "build",
    "check_router",
    "load_cv",
    "max_violation",
    "parametrize_with_checks",
    "register",
    "step_sums",
]
