"""Fast paths that replace a module's ``forward``, and the conditions that disable them."""

from torch import nn


def drop_outdated(cls: type, shortcut: str, base: type) -> None:
    """Reset an inherited fast path of ``cls`` if ``forward`` is overridden in a later class.

    Args:
        cls: a new class, from ``__init_subclass__``.
        shortcut: name of a method that is a faster ``forward``.
        base: the class whose method of that name calls or agrees with ``forward``.
    """

    def depth(name: str) -> int:
        return next(i for i, each in enumerate(cls.__mro__) if name in each.__dict__)

    if depth("forward") < depth(shortcut):
        setattr(cls, shortcut, getattr(base, shortcut))


def watched(module: nn.Module) -> bool:
    """Whether a module has hooks on ``forward`` or an instance attribute that replaces it."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return "forward" in module.__dict__ or any(getattr(module, name) for name in hooks)
