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


def unknown(key: str, value: object, allowed: Iterable[str]) -> ConfigError:
    """The error for a name that does not exist, with the nearest one that does.

    >>> print(unknown("router", "topp", ["hash", "topk"]))
    router=topp: unknown; did you mean 'topk'? Allowed: hash, topk
    """
    names = list(allowed)
    near = get_close_matches(str(value), names, n=1, cutoff=0.4)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return ConfigError(f"{key}={value}: unknown{guess} Allowed: {', '.join(names) or 'none'}")
