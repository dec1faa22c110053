"""Selection of the modules to route: by patterns of names, types or a function."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import singledispatch
from typing import Any, NamedTuple

from torch import nn

from routers import ConfigError

from ..layers.moe import MoE
from .feed_forward import parts_of
from .routed import Routed

#: Patterns of names, types, a function of name and module, or settings by pattern.
Where = (
    str
    | type[nn.Module]
    | Sequence[str]
    | tuple[type[nn.Module], ...]
    | Callable[[str, nn.Module], bool]
    | Mapping[str, Mapping[str, Any]]
)

#: Most names that an error shows.
_SHOWN = 12


class Matcher(NamedTuple):
    """A condition on modules, and the settings of those that meet it; ``text`` is for errors."""

    text: str
    matches: Callable[[str, nn.Module], bool]
    settings: Mapping[str, Any]


def find_places(model: nn.Module, where: Where) -> dict[str, list[Mapping[str, Any]]]:
    """Names of the modules to route, each with the settings of all conditions that it meets.

    Of modules in one another the outermost counts, the model itself only if ``parts_of`` knows its
    parts. ``ConfigError`` for a condition that no module meets, and for modules that are routed
    already or hold routed layers.

    >>> model = nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 4))
    >>> find_places(model, nn.Linear), [*find_places(model, ["0", "*.0"])]
    ({'0.0': [], '1': []}, ['0'])
    """
    matchers = read_where(where)
    if not matchers:
        raise ConfigError(f"where={where!r}: is empty; give one pattern or more, such as '*.mlp'")
    modules = {name: each for name, each in model.named_modules() if name or parts_of(model)}
    routed = [name for name, module in modules.items() if isinstance(module, Routed | MoE)]
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, module in modules.items():
        met = [matcher for matcher in matchers if matcher.matches(name, module)]
        if met and not any(_is_in(name, outer) for outer in found):
            found[name] = [matcher.settings for matcher in met if matcher.settings]
    for matcher in matchers:
        if not any(matcher.matches(name, module) for name, module in modules.items()):
            raise _no_match(matcher.text, modules)
    for name in found:
        if near := [each for each in routed if _is_in(each, name) or _is_in(name, each)]:
            raise ConfigError(
                f"module {name!r}: already routed, in {near[0]!r}; choose other modules, or take "
                "routed layers out with experts.unroute"
            )
    return found


@singledispatch
def read_where(where: Any) -> list[Matcher]:
    """The conditions that ``where`` stands for."""
    if not callable(where):
        raise ConfigError(
            f"where={where!r} is invalid: expected a pattern of names such as '*.mlp', a type of "
            "module, a function of name and module, or settings by pattern"
        )
    return [Matcher(getattr(where, "__name__", "function"), where, {})]


@read_where.register
def _pattern(where: str) -> list[Matcher]:
    return [Matcher(where, lambda name, _: bool(name) and fnmatchcase(name, where), {})]


@read_where.register
def _type(where: type) -> list[Matcher]:
    return [Matcher(where.__name__, lambda _, module: isinstance(module, where), {})]


@read_where.register(list)
@read_where.register(tuple)
def _several(where: Sequence[Any]) -> list[Matcher]:
    return [matcher for each in where for matcher in read_where(each)]


@read_where.register(Mapping)
def _settings(where: Mapping[str, Mapping[str, Any]]) -> list[Matcher]:
    found = []
    for pattern, settings in where.items():
        if not isinstance(settings, Mapping):
            raise ConfigError(
                f"where[{pattern!r}]={settings!r} is invalid: expected settings such as "
                "{'router': 'hash', 'num_experts': 16}"
            )
        found += [each._replace(settings=settings) for each in read_where(pattern)]
    return found


def _is_in(name: str, outer: str) -> bool:
    return not outer or f"{name}.".startswith(f"{outer}.")


def _no_match(text: str, modules: Mapping[str, nn.Module]) -> ConfigError:
    names = [name for name in modules if name]
    layers = [name for name in names if parts_of(modules[name])]
    ends = [f"*.{name.rpartition('.')[2]}" for name in names]
    known = [*dict.fromkeys([*ends, *names])]
    near = get_close_matches(text, known, n=3)
    guess = f"; did you mean {', '.join(map(repr, near))}?" if near else "."
    shown = [*names[:_SHOWN], *(["…"] if len(names) > _SHOWN else [])]
    hint = [
        f" A feed-forward network of several modules is routed by its layer, such as {layer!r}."
        for layer in layers[:1]
    ]
    listed = ", ".join(shown) or "none"
    return ConfigError(f"where={text!r}: no module matches{guess}{''.join(hint)} Modules: {listed}")
