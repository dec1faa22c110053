"""Configuration errors: each names the key, the value, what is expected and the nearest match."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import SequenceMatcher
from typing import Any, Self, TypeVar

T = TypeVar("T")

#: Least similarity of a name that is suggested for another, the default of ``difflib``.
NEAR = 0.6


class ConfigError(ValueError):
    """An invalid configuration."""


class OptionError(ConfigError):
    """An invalid option of a part, named as in the part's constructor.

    A part does not know under which key a configuration reaches it: ``Registry.build`` and
    ``option_errors_under`` prepend that key.

    Args:
        name: the option.
        value: the given value.
        expected: the valid values.
        cure: a sentence on how to fix it, without a full stop.

    >>> print(OptionError("k", 9, "an integer in [1, num_experts=8]"))
    k=9 is invalid: expected an integer in [1, num_experts=8]
    """

    def __init__(self, name: str, value: object, expected: str, cure: str = "") -> None:
        cure = f". {cure}" if cure else ""
        self._say(name, f"={value} is invalid: expected {expected}{cure}")

    @classmethod
    def about(cls, name: str, problem: str) -> Self:
        """An error whose message is ``name`` followed by ``problem``."""
        error = cls.__new__(cls)
        error._say(name, problem)
        return error

    def under(self, key: str) -> Self:
        """The same error about ``key.name``.

        >>> print(OptionError("k", 0, "a positive integer").under("router"))
        router.k=0 is invalid: expected a positive integer
        """
        return self.about(f"{key}.{self.name}", self.problem)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).about, (self.name, self.problem), vars(self)

    def _say(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        self.args = (name + problem,)


def unknown_option(key: str, name: str, allowed: Iterable[str]) -> OptionError:
    """The error for an option that does not exist, with the nearest one that does.

    >>> print(unknown_option("router", "wieght", ["k", "weight"]))
    router.wieght: unknown; did you mean 'weight'? Allowed: k, weight
    """
    return OptionError.about(f"{key}.{name}", f": {nearest_name(name, allowed)}")


def unknown(key: str, value: object, allowed: Iterable[str]) -> OptionError:
    """The error for a name that does not exist, with the nearest one that does.

    >>> print(unknown("router", "topp", ["hash", "topk"]))
    router=topp: unknown; did you mean 'topk'? Allowed: hash, topk
    """
    return OptionError.about(key, f"={value}: {nearest_name(str(value), allowed)}")


def named(key: str, name: str, parts: Mapping[str, T]) -> T:
    """The part of this name; the error of ``unknown`` if there is none.

    >>> named("table", "random", {"random": 3})
    3
    """
    if name not in parts:
        raise unknown(key, name, parts)
    return parts[name]


@contextmanager
def option_errors_under(key: str) -> Iterator[None]:
    """Prepend ``key`` to the option that an ``OptionError`` names.

    >>> with option_errors_under("router"):
    ...     raise OptionError("k", 9, "an integer in [1, num_experts=8]")
    Traceback (most recent call last):
    routers.plugins.errors.OptionError: router.k=9 is invalid: expected an integer in ...
    """
    try:
        yield
    except OptionError as error:
        raise error.under(key) from error.__cause__


def nearest_name(name: str, allowed: Iterable[str]) -> str:
    """The last part of a message about an unknown name: the nearest match and all valid names.

    Of equally near names the first is taken; there is no guess if none is near.

    >>> nearest_name("epochs", ["max_epochs", "min_epochs"])
    "unknown; did you mean 'max_epochs'? Allowed: max_epochs, min_epochs"
    >>> nearest_name("verbose", ["k", "gate"])
    'unknown. Allowed: k, gate'
    """
    names = [str(each) for each in allowed]
    likeness = [SequenceMatcher(None, each, name).ratio() for each in names]
    best = max(likeness, default=0.0)
    guess = f"; did you mean {names[likeness.index(best)]!r}?" if best >= NEAR else "."
    return f"unknown{guess} Allowed: {', '.join(names) or 'none'}"
