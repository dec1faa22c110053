"""Small additions to torch: compilation limits, float32 state, stable sorting."""

from .float32_state import Float32State
from .no_compile import uncompiled
from .overrides import drop_outdated, watched
from .sorting import stable_order

__all__ = ["Float32State", "drop_outdated", "stable_order", "uncompiled", "watched"]
