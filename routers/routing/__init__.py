"""The routing of items to experts: inputs, assignments, statistics and capacity."""

from .capacity import DROP_ORDERS, ROUNDINGS, check_capacity_options
from .execution import Combine, Defaults, Execution, Merge, OutputCombiner, OutputMeans, Slots
from .routing import Items, Routing, stable_order
from .skipping import SKIP_RULES, check_skip

__all__ = [
    "DROP_ORDERS",
    "ROUNDINGS",
    "SKIP_RULES",
    "Combine",
    "Defaults",
    "Execution",
    "Items",
    "Merge",
    "OutputCombiner",
    "OutputMeans",
    "Routing",
    "Slots",
    "check_capacity_options",
    "check_skip",
    "stable_order",
]
