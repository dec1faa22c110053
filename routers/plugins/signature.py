"""Options of a part, checked against the signature of its constructor."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import OptionError, nearest_name, unknown_option

_PLURAL = (Sequence, list, tuple)


def defaults(factory: Callable[..., Any], skip: int) -> dict[str, Any]:
    """The options a constructor takes beyond its first ``skip`` arguments, with their defaults.

    >>> defaults(lambda dim, num_experts, *, k=2: None, skip=2)
    {'k': 2}
    """
    parameters = list(inspect.signature(factory).parameters.values())[skip:]
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {p.name: p.default for p in named}


def check_options(
    key: str, factory: Callable[..., Any], options: Mapping[str, Any], skip: int
) -> None:
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
        if name in hints and not fits_hint(value, hints[name]):
            problem = f"={value}: {hint_mismatch(value, hints[name])}"
            raise OptionError.about(f"{key}.{name}", problem)
    for name, default in allowed.items():
        if default is inspect.Parameter.empty and name not in options:
            expected = _describe(hints[name])
            raise OptionError.about(f"{key}.{name}", f": required; give {key}.{name}={expected}")


def fits_hint(value: Any, hint: Any) -> bool:
    """Whether a value, as YAML reads it, is of the type a hint asks for.

    >>> fits_hint(1, float), fits_hint(True, float), fits_hint([1, "a"], Sequence[int])
    (True, False, False)
    """
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(fits_hint(value, part) for part in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint is Any or not isinstance(origin or hint, type):
        return True
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in _PLURAL or hint in _PLURAL:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return False
        kinds = [kind for kind in get_args(hint) if kind is not Ellipsis]
        return not kinds or all(any(fits_hint(v, kind) for kind in kinds) for v in value)
    return isinstance(value, origin or hint)


def hint_mismatch(value: Any, hint: Any) -> str:
    """Why a value does not fit a hint.

    >>> hint_mismatch([3], Sequence[str])
    'expected list of str, got list of int; quote what is meant as text, as in "null"'
    """
    if get_origin(hint) is Literal:
        return nearest_name(str(value), get_args(hint))
    kinds = [type(value).__name__]
    if isinstance(value, list | tuple):
        kinds.append(" and ".join(sorted({type(v).__name__ for v in value})))
    quote = fits_hint("", hint) or (len(kinds) > 1 and fits_hint([""], hint))
    cure = '; quote what is meant as text, as in "null"' if quote else ""
    return f"expected {_describe(hint)}, got {' of '.join(filter(None, kinds))}{cure}"


def _describe(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_describe(part) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if hint is NoneType:
        return "null"
    kind = get_origin(hint) or hint
    if kind in _PLURAL and get_args(hint):
        return "list of " + _describe(get_args(hint)[0])
    return str(getattr(kind, "__name__", kind)).lower()
