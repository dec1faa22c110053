"""Numbers and lists of names as text."""

import math
from collections.abc import Sequence

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
    """Format with a number of decimals and a typographic minus.

    >>> fixed(-0.5, 2), fixed(None, 2)
    ('−0.50', '–')
    """
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{places}f}".replace("-", "\N{MINUS SIGN}")


def listed(names: Sequence[str]) -> str:
    """Join names for a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def with_direction(objective: Objective) -> str:
    """Name an objective with its better direction."""
    return f"{objective.metric} ({'more' if objective.sign < 0 else 'less'} is better)"


def counted(number: int, noun: str) -> str:
    """Format a count with its noun.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
