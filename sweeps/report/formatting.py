"""Numbers and lists of names as text."""

import math

from ..config.objectives import Objective
from ..results.formatting import compact as ascii_compact

#: Shown where there is no number.
NONE = "\N{EN DASH}"


def compact(value: float | None) -> str:
    """Format with three digits and a unit.

    >>> [compact(v) for v in (3_343_616, 0.4567, None)]
    ['3.34M', '0.457', '–']
    """
    if value is None or not math.isfinite(value):
        return NONE
    return ascii_compact(value).replace("-", "\N{MINUS SIGN}")


def fixed(value: float | None, places: int) -> str:
    """Format with a number of decimals and a typographic minus; zero has no sign.

    >>> fixed(-0.5, 2), fixed(-1e-9, 2), fixed(None, 2)
    ('−0.50', '0.00', '–')
    """
    if value is None or not math.isfinite(value):
        return NONE
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "\N{MINUS SIGN}")


def with_direction(objective: Objective) -> str:
    """Name an objective with its better direction."""
    return f"{objective.metric} ({'more' if objective.sign < 0 else 'less'} is better)"


def counted(number: int, noun: str) -> str:
    """Format a count with its noun.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
