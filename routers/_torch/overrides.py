"""Shortcuts around a module's ``forward``, and when not to take them."""

from torch import nn


def drop_outdated(cls: type, shortcut: str, base: type) -> None:
    """Undo a shortcut that ``cls`` inherits, where its ``forward`` is the newer of the two.

    Args:
        cls: a class just made.
        shortcut: name of a method that does what ``forward`` does, faster.
        base: whose method of that name goes by ``forward``.
    """

    def depth(name: str) -> int:
        return next(i for i, each in enumerate(cls.__mro__) if name in each.__dict__)

    if depth("forward") < depth(shortcut):
        setattr(cls, shortcut, getattr(base, shortcut))


def watched(module: nn.Module) -> bool:
    """Whether somebody waits for calls of ``forward``, or has put another in its place."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return "forward" in module.__dict__ or any(getattr(module, name) for name in hooks)
