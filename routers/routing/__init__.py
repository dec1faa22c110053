"""The routing of items to experts: inputs, assignments, statistics and capacity."""

from .blend import Blend
from .capacity import DROP_ORDERS, check_capacity_options
from .items import Items
from .rounding import ROUNDINGS
from .routing import Routing
from .rule import OutputCombiner

__all__ = [
    "DROP_ORDERS",
    "ROUNDINGS",
    "Blend",
    "Items",
    "OutputCombiner",
    "Routing",
    "check_capacity_options",
]
