"""Hooks of a module."""

from operator import attrgetter

#: Returns a module's hooks on calls of ``forward``; a method that replaces such a call skips them.
call_hooks = attrgetter(
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"
)
