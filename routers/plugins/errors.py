"""Errors that name the cause and the cure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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


@contextmanager
def rekeyed(keys: Mapping[str, str]) -> Iterator[None]:
    """Errors of a part that is an option of another, under the keys by which a user reaches it.

    >>> with rekeyed({"router.": "router.options."}):
    ...     raise bad_value("router.k", 9, "an integer from 1 to num_experts=8")
    Traceback (most recent call last):
    routers.plugins.errors.ConfigError: router.options.k=9: allowed is an integer from 1 to ...
    """
    try:
        yield
    except ConfigError as error:
        old = re.compile(r"\b(" + "|".join(map(re.escape, keys)) + ")")
        raise ConfigError(old.sub(lambda found: keys[found[0]], str(error))) from error


def nearest_name(name: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown{guess} Allowed: {', '.join(names) or 'none'}"
