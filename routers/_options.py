"""Options of a part, checked against the signature of its constructor."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ._errors import ConfigError, unknown_option

_PLURAL = (Sequence, list, tuple)


def defaults(factory: Callable[..., Any], skip: int) -> dict[str, Any]:
    """The options a constructor takes beyond its first ``skip`` arguments, with their defaults.

    >>> defaults(lambda dim, num_experts, *, k=2: None, skip=2)
    {'k': 2}
    """
    parameters = list(inspect.signature(factory).parameters.values())[skip:]
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {p.name: p.default for p in named}


def check(key: str, factory: Callable[..., Any], options: Mapping[str, Any], skip: int) -> None:
    """Refuse an option that ``factory`` does not have, lacks, or has with another type.

    Args:
        key: what the options belong to, as the user wrote it (``router``).
        factory: a class or function whose keyword arguments are the schema.
        options: what the user gave.
        skip: how many leading arguments are not options (``dim, num_experts`` are 2).

    Raises:
        ConfigError: naming the key, the value, what is allowed and the nearest match.
    """
    allowed = defaults(factory, skip)
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    for name, value in options.items():
        if name not in allowed:
            raise unknown_option(key, name, sorted(allowed))
        if name in hints and not _fits(value, hints[name]):
            wanted = _describe(hints[name])
            kind = type(value).__name__
            raise ConfigError(f"{key}.{name}={value}: expected {wanted}, got {kind}")
    for name, default in allowed.items():
        if default is inspect.Parameter.empty and name not in options:
            raise ConfigError(f"{key}.{name}: required; give {key}.{name}={_describe(hints[name])}")


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if hint is Any or not isinstance(origin or hint, type):
        return True
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in _PLURAL or hint in _PLURAL:
        return isinstance(value, Sequence) and not isinstance(value, str)
    return isinstance(value, origin or hint)


def _describe(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_describe(part) for part in get_args(hint))
    if hint is NoneType:
        return "null"
    kind = get_origin(hint) or hint
    return str(getattr(kind, "__name__", kind)).lower()
