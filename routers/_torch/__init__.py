"""Small additions to torch: compilation limits, float32 state and hooks."""

from .float32_state import Float32State
from .hooks import call_hooks
from .no_compile import uncompiled

__all__ = ["Float32State", "call_hooks", "uncompiled"]
