"""Learning-rate schedules: factors of the rate by the fraction ``done`` of steps after warm-up."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from routers import OptionError
from routers.plugins import Registry, check_options, option_errors_under

from ..config.named_part import split_part

#: Functions ``(done, *, options) -> factor``, where ``done`` runs from 0 to 1; ``OptionError`` for
#: an option out of its range.
SCHEDULES: Registry[Any] = Registry(
    "optimizer.schedule", base=None, group="switchyard.schedules", positional=1
)


@SCHEDULES.register("constant")
def constant(done: float) -> float:
    """The full rate to the end."""
    return 1.0


@SCHEDULES.register("linear")
def linear(done: float, *, floor: float = 0.0) -> float:
    """A straight line from the full rate to ``floor`` of it."""
    _check_fractions(floor=floor)
    return floor + (1 - floor) * (1 - done)


@SCHEDULES.register("cosine")
def cosine(done: float, *, floor: float = 0.0) -> float:
    """Half a cosine from the full rate to ``floor`` of it.

    >>> cosine(0.5, floor=0.1)
    0.55
    """
    _check_fractions(floor=floor)
    return floor + (1 - floor) * (0.5 + 0.5 * math.cos(math.pi * done))


@SCHEDULES.register("polynomial")
def polynomial(done: float, *, power: float = 2.0, floor: float = 0.0) -> float:
    """The fraction of steps left to a power, from the full rate to ``floor`` of it."""
    _check_fractions(floor=floor)
    if not 0 < power < math.inf:
        raise OptionError("power", power, "a finite number > 0")
    return floor + (1 - floor) * float((1 - done) ** power)


@SCHEDULES.register("trapezoid")
def trapezoid(done: float, *, decay: float = 0.2, floor: float = 0.0) -> float:
    """The full rate, then a straight line to ``floor`` over the last ``decay`` of the steps.

    With the warm-up before it this is warm-up, stable, decay (WSD).

    >>> trapezoid(0.5), trapezoid(0.9)
    (1.0, 0.5)
    """
    _check_fractions(decay=decay, floor=floor)
    return floor + (1 - floor) * min(1.0, (1 - done) / max(decay, 1e-9))


@SCHEDULES.register("inverse_sqrt")
def inverse_sqrt(done: float, *, start: float = 0.1) -> float:
    """The full rate until the fraction ``start``, then ``sqrt(start / done)``."""
    if not 0 < start <= 1:
        raise OptionError("start", start, "a number in (0, 1]")
    return math.sqrt(min(1.0, start / max(done, 1e-9)))


@SCHEDULES.register("step")
def step(done: float, *, at: Sequence[float] = (0.5, 0.75), factor: float = 0.1) -> float:
    """The rate times ``factor`` at each of the fractions ``at``.

    >>> step(0.6)
    0.1
    """
    _check_fractions(factor=factor)
    if not all(0 <= each <= 1 for each in at):
        raise OptionError("at", at, "numbers in [0, 1]")
    return float(factor ** sum(done >= each for each in at))


def _check_fractions(**options: float) -> None:
    """Raise ``OptionError`` for an option outside of [0, 1]."""
    for name, value in options.items():
        if not 0 <= value <= 1:
            raise OptionError(name, value, "a number in [0, 1]")


def build_schedule(value: str | Mapping[str, Any]) -> Callable[[float], float]:
    """The schedule of a name, or of ``{name: …, option: …}``; ``ConfigError`` if it cannot work.

    ``module:Class`` is called with the options and gives the function, ``module:function`` is it.

    >>> build_schedule({"name": "cosine", "floor": 0.5})(1.0)
    0.5
    """
    name, options = split_part(SCHEDULES.key, value)
    found = SCHEDULES.get_part(name)
    is_class = isinstance(found, type)
    check_options(SCHEDULES.key, found, options, skip=0 if is_class else 1)
    with option_errors_under(SCHEDULES.key):
        schedule = found(**options) if is_class else partial(found, **options)
    for done in (0.0, 0.5, 1.0):
        try:
            with option_errors_under(SCHEDULES.key):
                factor = schedule(done)
            valid = 0 <= factor < math.inf
        except OptionError:
            raise
        except Exception as error:  # of code from outside, or of options that do not fit
            problem = f"={name}: {type(error).__name__} at the fraction {done}: {error}"
            raise OptionError.about(SCHEDULES.key, problem) from error
        if not valid:
            expected = f"factors that are finite and >= 0; it is {factor} at the fraction {done}"
            raise OptionError(SCHEDULES.key, name, expected)
    return schedule
