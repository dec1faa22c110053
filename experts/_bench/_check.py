"""Every setting is checked before anything runs."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from routers import ConfigError, OptionError, unknown

from ._contestants import CONTESTANTS
from ._place import ALLOCATORS, DEVICE_CHECKS, DTYPES
from ._settings import Settings
from ._shapes import Shape

#: Keys that mean nothing where only the number of experts changes.
_OF_SHAPES = ("shapes", "skew", "contestants")


def check(settings: Settings, shapes: Mapping[int, Shape], ways: Collection[str]) -> None:
    """Raise ``ConfigError`` for the first setting that cannot work.

    Args:
        settings: of the right types.
        shapes: what ``shapes`` may name.
        ways: what ``over`` may name.
    """
    _named("device", settings.device, DEVICE_CHECKS)
    DEVICE_CHECKS[settings.device]()
    _named("dtype", settings.dtype, DTYPES)
    _named("over", settings.over, ways)
    _named("allocator", settings.allocator, ALLOCATORS)
    _distinct("shapes", settings.shapes, shapes)
    if settings.contestants is not None:
        _distinct("contestants", settings.contestants, CONTESTANTS)
    if settings.rounds < 1:
        raise OptionError("rounds", settings.rounds, "an integer of at least 1")
    if settings.threads is not None and settings.threads < 1:
        raise OptionError("threads", settings.threads, "an integer of at least 1, or null")
    if not 0 <= settings.seed < 2**63:
        raise OptionError("seed", settings.seed, "an integer from 0 to below 2**63")
    if settings.skew is not None:
        _reachable(settings.skew, {number: shapes[number] for number in settings.shapes})
    if settings.over == "experts":
        _unchanged(settings)


def _named(key: str, value: Any, allowed: Collection[Any]) -> None:
    if value not in allowed:
        raise unknown(key, value, map(str, allowed))


def _distinct(key: str, values: Iterable[Any], allowed: Collection[Any]) -> None:
    values = list(values)
    for value in values:
        _named(key, value, allowed)
    if not values or len(set(values)) < len(values):
        shown = ",".join(map(str, values))
        raise OptionError(key, shown, f"one or more of {', '.join(map(str, allowed))}, each once")


def _reachable(skew: float, shapes: Mapping[int, Shape]) -> None:
    """All tokens can at most choose the same expert, which gives it ``E / K`` times the mean."""
    for number, shape in shapes.items():
        most = shape.experts / shape.k
        if not math.isfinite(skew) or not 1 <= skew <= most:
            raise OptionError("skew", skew, f"a number from 1 to E/K={most:g} of shape {number}")


def _unchanged(settings: Settings) -> None:
    unset = Settings()
    for key in _OF_SHAPES:
        given = getattr(settings, key)
        if given != getattr(unset, key):
            raise ConfigError(
                f"{key}={given}: changes nothing with over=experts; remove it, or take over=shapes"
            )
