"""The routing of items to experts: inputs, assignments, statistics and capacity."""

from .capacity import DROP_ORDERS, ROUNDINGS, check_capacity_options
from .execution import Combine, Execution, Merge, OutputCombiner, Slots
from .routing import Items, Routing, stable_order

__all__ = [
    "DROP_ORDERS",
    "ROUNDINGS",
    "Combine",
    "Execution",
    "Items",
    "Merge",
    "OutputCombiner",
    "Routing",
    "Slots",
    "check_capacity_options",
    "stable_order",
]
