"""Routers decide which experts work on which items: one strategy, one file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._router import ROUTERS, Router, Traits
from ._torch.float32_state import Float32State
from ._torch.no_compile import uncompiled
from ._torch.overrides import drop_outdated, watched
from ._torch.sorting import stable_order
from .gates import GATES, Gate
from .losses import LOSSES, step_sums
from .metrics import load_cv, max_violation
from .plugins.errors import ConfigError, OptionError, nearest_name, unknown, unknown_option
from .plugins.registry import Registry, import_parts, load_plugins
from .plugins.signature import check_options, fits_hint, hint_mismatch
from .routing.blend import Blend
from .routing.capacity import DROP_ORDERS, check_capacity_options
from .routing.items import Items
from .routing.rounding import ROUNDINGS
from .routing.routing import Routing
from .routing.rule import OutputCombiner

if TYPE_CHECKING:
    from .conformance import CheckError, check_router, parametrize_with_checks
    from .metrics import METRICS, LayerMetrics, RoutingMetric, average_over_layers

register = ROUTERS.register
build = ROUTERS.build
available = ROUTERS.available

import_parts(__name__, __path__)

__all__ = [
    "DROP_ORDERS",
    "GATES",
    "LOSSES",
    "METRICS",
    "ROUNDINGS",
    "ROUTERS",
    "Blend",
    "CheckError",
    "ConfigError",
    "Float32State",
    "Gate",
    "Items",
    "LayerMetrics",
    "OptionError",
    "OutputCombiner",
    "Registry",
    "Router",
    "Routing",
    "RoutingMetric",
    "Traits",
    "available",
    "average_over_layers",
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
    "register",
    "stable_order",
    "step_sums",
    "uncompiled",
    "unknown",
    "unknown_option",
    "watched",
]


#: Names that are imported on first use, since torchmetrics takes longer to import than torch.
_LAZY = {
    "CheckError": "conformance",
    "check_router": "conformance",
    "parametrize_with_checks": "conformance",
    "METRICS": "metrics",
    "LayerMetrics": "metrics",
    "RoutingMetric": "metrics",
    "average_over_layers": "metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
