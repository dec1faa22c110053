"""Gates: how an item's features become one score per expert. Any learned router takes any."""

from ..plugins.registry import import_parts
from ._base import Gate, GateSpec, build_gate, gates, pick

import_parts(__name__, __path__)

__all__ = ["Gate", "GateSpec", "build_gate", "gates", "pick"]
