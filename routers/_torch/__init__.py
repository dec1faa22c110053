"""Small additions to torch: compilation limits and float32 state."""

from .float32_state import Float32State
from .no_compile import uncompiled
from .overrides import drop_outdated, watched

__all__ = ["Float32State", "drop_outdated", "uncompiled", "watched"]
