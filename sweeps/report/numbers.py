"""Numbers and names as people read them."""

import math
from collections.abc import Sequence

from ..results import formatting

#: What a gap looks like.
NONE = "\N{EN DASH}"


def compact(value: float | None) -> str:
    """Three digits and a unit.

    >>> [compact(v) for v in (3_343_616, 0.4567, None)]
    ['3.34M', '0.457', '–']
    """
    if value is None or not math.isfinite(value):
        return NONE
    return formatting.compact(value).replace("-", "\N{MINUS SIGN}")


def fixed(value: float | None, places: int) -> str:
    """With this many decimals, and a real minus.

    >>> fixed(-0.5, 2), fixed(None, 2)
    ('−0.50', '–')
    """
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.{places}f}".replace("-", "\N{MINUS SIGN}")


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
