"""Options of a part: checks against the signature of its constructor, and their display."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from .errors import ConfigError, OptionError, nearest_name, unknown_option

_PLURAL = (Sequence, list, tuple)

_signature = lru_cache(inspect.signature)


@lru_cache
def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except NameError:  # of names that other packages import for type checkers only
        return {}


def defaults(factory: Callable[..., Any], skip: int) -> dict[str, Any]:
    """Options of a constructor after its first ``skip`` arguments, with their defaults.

    >>> defaults(lambda dim, num_experts, *, k=2: None, skip=2)
    {'k': 2}
    """
    parameters = list(_signature(factory).parameters.values())[skip:]
    named = [p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return {p.name: p.default for p in named}


def check_options(
    key: str, factory: Callable[..., Any], options: Mapping[str, Any], skip: int
) -> None:
    """Check that ``options`` are known to ``factory``, complete and of the right types.

    Else ``OptionError`` with the key, the value, the valid values and the nearest match.

    Args:
        key: the config key of the part (``router``), used in errors.
        factory: a class or function whose keyword arguments are the schema.
        options: the given options.
        skip: number of leading arguments that are not options (2 for ``dim, num_experts``).
    """
    allowed = defaults(factory, skip)
    hints = _hints(factory)
    for name, value in options.items():
        if name not in allowed:
            raise unknown_option(key, name, sorted(allowed))
        if name in hints and not fits_hint(value, hints[name]):
            problem = f"={value}: {hint_mismatch(value, hints[name])}"
            raise OptionError.about(f"{key}.{name}", problem)
    for name, default in allowed.items():
        if default is inspect.Parameter.empty and name not in options:
            expected = _describe(hints[name]) if name in hints else "VALUE"
            raise OptionError.about(f"{key}.{name}", f": required; give {key}.{name}={expected}")


def fits_hint(value: Any, hint: Any) -> bool:
    """Whether a value read from YAML has the type of a hint.

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
    """The message about a value that does not match a type hint.

    >>> hint_mismatch([3], Sequence[str])
    'expected list of str, got list of int; quote text, as in "null"'
    """
    if get_origin(hint) is Literal:
        return nearest_name(str(value), get_args(hint))
    kinds = [type(value).__name__]
    if isinstance(value, list | tuple):
        kinds.append(" and ".join(sorted({type(v).__name__ for v in value})))
    quote = fits_hint("", hint) or (len(kinds) > 1 and fits_hint([""], hint))
    cure = '; quote text, as in "null"' if quote else ""
    return f"expected {_describe(hint)}, got {' of '.join(filter(None, kinds))}{cure}"


def check_type(key: str, value: Any, hint: Any) -> None:
    """Raise ``OptionError`` where a value is not of the type of its hint."""
    if not fits_hint(value, hint):
        raise OptionError.about(key, f"={value}: {hint_mismatch(value, hint)}")


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


class ShowsArguments:
    """A base class of modules that show the arguments of their constructor, and check new values.

    Every argument is an attribute. One that is set later is checked as in the constructor; as the
    state stays as it is, an argument that only matters at construction cannot be set.

    >>> from torch import nn
    >>> class Part(ShowsArguments, nn.Module):
    ...     def __init__(self, dim: int, *, k: int = 2) -> None:
    ...         super().__init__()
    ...         if k > dim:
    ...             raise OptionError("k", k, f"an integer in [1, dim={dim}]")
    ...         self.dim, self.k = dim, k
    >>> part = Part(8)
    >>> part
    Part(dim=8, k=2, parameters=0)
    >>> part.k = 9
    Traceback (most recent call last):
    routers.plugins.errors.OptionError: k=9 is invalid: expected an integer in [1, dim=8]
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        init = cls.__dict__.get("__init__")
        if init is None:
            return

        @wraps(init)
        def recording(self: Any, *args: Any, **options: Any) -> None:
            if "_arguments" in self.__dict__:  # called by the constructor of a subclass
                return init(self, *args, **options)
            call = _signature(init).bind(self, *args, **options)
            call.apply_defaults()
            self.__dict__["_arguments"] = _named_arguments(call)
            init(self, *args, **options)
            held, given = vars(self), vars(self)["_arguments"]
            held["_not_kept"] = frozenset(name for name in given if not hasattr(self, name))
            held.update({name: given[name] for name in held["_not_kept"]})
            return None

        cls.__init__ = recording  # type: ignore[method-assign]

    def __setattr__(self, name: str, value: Any) -> None:
        held = vars(self)
        is_argument = "_not_kept" in held and name in held["_arguments"]
        is_state = isinstance(value, nn.Module) or (isinstance(value, Tensor) and name not in held)
        if is_state or not is_argument:
            super().__setattr__(name, value)
        elif name not in held or held[name] is not value:
            _rebuild(self, name, value)

    def extra_repr(self) -> str:
        shown = dict(vars(self).get("_arguments", {}))
        for name, given in shown.items():
            if given is None:  # a default that the constructor computed
                shown[name] = getattr(self, name, None)
        if isinstance(self, nn.Module):
            shown["parameters"] = sum(parameter.numel() for parameter in self.parameters())
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


def _rebuild(part: Any, name: str, value: Any) -> None:
    """Change the attributes that depend on an argument, as the constructor would have set them.

    ``OptionError`` if it refuses the value, if submodules or shapes depend on the argument, or if
    nothing but the initial state does.
    """
    arguments = vars(part)["_arguments"]
    constructor: Callable[..., Any] = type(part)
    hint = _hints(constructor).get(name, Any)
    if not fits_hint(value, hint):
        raise OptionError.about(name, f"={value}: {hint_mismatch(value, hint)}")
    if value == arguments[name] or value == vars(part).get(name):
        return
    try:
        with torch.device("meta"):
            old = vars(part).get("_as_built") or constructor(**arguments)
            new = constructor(**{**arguments, name: value})
    except ConfigError:
        raise
    except Exception as error:  # a constructor may read values, which the device meta lacks
        problem = f"{arguments[name]}, as {constructor.__name__} cannot be checked with another"
        raise OptionError(name, value, problem, "Build another one") from error
    parameter = _signature(constructor).parameters.get(name)
    is_size = parameter is not None and parameter.default is inspect.Parameter.empty
    if is_size or _structure(old) != _structure(new):
        raise OptionError(name, value, f"{arguments[name]}, which is fixed", "Build another one")
    own_modules = dict(part.named_modules())  # some may have been replaced
    changes = [
        (own_modules[path], key, held)
        for (path, before), after in zip(old.named_modules(), new.modules(), strict=True)
        if path in own_modules
        for key, held in vars(after).items()
        if not key.startswith("_") and held != vars(before).get(key)
    ]
    if all(key in vars(own).get("_not_kept", ()) for own, key, _ in changes):
        expected = f"{arguments[name]}, which only matters at construction"
        raise OptionError(name, value, expected, "Build another one")
    for own, key, held in changes:
        own.__dict__[key] = held
    arguments = {**arguments, name: value}  # not in place: copies of the part keep theirs
    part.__dict__.update(_arguments=arguments, _as_built=new)  # the next change builds one less


def _named_arguments(call: inspect.BoundArguments) -> dict[str, Any]:
    """The arguments of a constructor by name, without ``self``; those of ``**options`` too."""
    found = dict[str, Any]()
    for parameter in list(call.signature.parameters.values())[1:]:
        given = call.arguments[parameter.name]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found.update(given)
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            found[parameter.name] = given
    return found


def _structure(module: nn.Module) -> list[object]:
    """The types of a module and all submodules, and the shapes of their state."""
    shapes: list[object] = [(key, each.shape) for key, each in module.state_dict().items()]
    return [*shapes, *map(type, module.modules())]
