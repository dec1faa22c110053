"""Gates: how an item's features become one score per expert. Any learned router takes any."""

from ..plugins.registry import import_parts
from ._base import GATES, Gate, GateSpec, build_gate

import_parts(__name__, __path__)

__all__ = ["GATES", "Gate", "GateSpec", "build_gate"]
