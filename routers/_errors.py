"""Errors that name the cause and the cure."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """A setting that cannot work: the message names the key, the value and what is allowed."""


def bad_value(key: str, value: object, allowed: str, cure: str = "") -> ConfigError:
    """The error for a value outside its range.

    >>> print(bad_value("router.k", 9, "an integer from 1 to num_experts=8"))
    router.k=9: allowed is an integer from 1 to num_experts=8
    """
    return ConfigError(f"{key}={value}: allowed is {allowed}" + (f". {cure}" if cure else ""))


def unknown_option(key: str, name: str, allowed: Iterable[str]) -> ConfigError:
    """The error for an option that does not exist, with the nearest one that does.

    >>> print(unknown_option("router", "wieght", ["k", "weight"]))
    router.wieght: unknown; did you mean 'weight'? Allowed: k, weight
    """
    return ConfigError(f"{key}.{name}: {nearest_name(name, allowed)}")


def unknown(key: str, value: object, allowed: Iterable[str]) -> ConfigError:
    """The error for a name that does not exist, with the nearest one that does.

    >>> print(unknown("router", "topp", ["hash", "topk"]))
    router=topp: unknown; did you mean 'topk'? Allowed: hash, topk
    """
    return ConfigError(f"{key}={value}: {nearest_name(str(value), allowed)}")


def nearest_name(name: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown{guess} Allowed: {', '.join(names) or 'none'}"
