"""``python -m experts bench``: benchmark routed layers against other layers in one process."""

from .command import add_command

__all__ = ["add_command"]
