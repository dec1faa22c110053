"""Gates compute one score per expert from an item's features; learned routers accept any gate."""

from ..plugins import import_parts
from ._base import GATES, ExpertRows, Gate, GateSpec, build_gate, take_outputs

import_parts(__name__, __path__)

__all__ = ["GATES", "ExpertRows", "Gate", "GateSpec", "build_gate", "take_outputs"]
