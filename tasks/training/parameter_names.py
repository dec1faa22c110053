"""Parameters of a network by name: of its routers, its experts, the rest, or by a pattern."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from torch.nn import Parameter

from experts import MoE
from routers import ConfigError, OptionError

#: Names for all parameters of one kind; every parameter has one of them.
KINDS = ("router", "experts", "backbone")

_SHOWN = 6


def trained_parameters(module: nn.Module) -> Iterator[tuple[str, Parameter]]:
    """Parameters with their names, without those that are frozen."""
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)


def select(module: nn.Module, pattern: str, key: str) -> list[str]:
    """Names of the parameters that a pattern selects; ``OptionError`` about ``key`` if none.

    Args:
        module: the network.
        pattern: ``router``, ``experts`` (of routed layers), ``backbone`` (all other), the name of
            a parameter or of a part, or either with ``*``, ``?`` and ``[…]``.
        key: what gave the pattern, for errors.

    >>> select(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), "1", "freeze")
    ['1.weight', '1.bias']
    """
    kinds = _kinds(module)
    if pattern in KINDS:
        found = [name for name, kind in kinds.items() if kind == pattern]
        cure = f"a name that has parameters here: {', '.join(sorted({*kinds.values()}))}"
    else:
        found = [n for n in kinds if fnmatchcase(n, pattern) or fnmatchcase(n, f"{pattern}.*")]
        cure = f"{', '.join(KINDS)}, or a pattern of names such as {_near(pattern, [*kinds])}"
    if not found:
        raise OptionError.about(key, f": {pattern!r} selects no parameter: expected {cure}")
    return found


def freeze(module: nn.Module, patterns: Sequence[str]) -> None:
    """Exclude the parameters that the patterns select from training."""
    chosen = {name for pattern in patterns for name in select(module, pattern, "freeze")}
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name not in chosen)
    if chosen and not any(trained_parameters(module)):
        raise ConfigError(f"freeze={list(patterns)}: nothing is left to train; freeze less")


def _kinds(module: nn.Module) -> dict[str, str]:
    """The kind of every parameter, by its name."""
    layers = [each for each in module.modules() if isinstance(each, MoE)]
    routed = {id(p) for layer in layers for p in layer.parameters()}
    routers = {id(p) for layer in layers for p in layer.router.parameters()}
    return {
        name: KINDS[0 if id(p) in routers else 1 if id(p) in routed else 2]
        for name, p in module.named_parameters()
    }


def _near(pattern: str, names: Sequence[str]) -> str:
    """The nearest names, else the first."""
    near = get_close_matches(pattern, names, n=_SHOWN) or names[:_SHOWN]
    return ", ".join(near) + (f" … ({len(names)} in all)" if len(names) > len(near) else "")
