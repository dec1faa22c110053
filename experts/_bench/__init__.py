"""``python -m experts bench``: what a routed layer costs, beside others in the same process."""

from ._command import add_command
from ._run import bench
from ._settings import Settings
from ._shapes import Shape

__all__ = ["Settings", "Shape", "add_command", "bench"]
