"""Asynchronous successive halving for one objective or several."""

from collections.abc import Callable, Sequence

Values = Sequence[float]


def rungs(first: int, factor: int, epochs: int) -> list[int]:
    """Epochs at which trials are compared, without the last epoch.

    >>> rungs(1, 3, 27)
    [1, 3, 9]
    """
    found = [first]
    while found[-1] < epochs:
        found.append(found[-1] * factor)
    return found[:-1]


def is_among_best(own: Values, others: Sequence[Values], factor: int) -> bool:
    """Whether a trial is among the best ``1/factor`` of those that reached its rung.

    The first ``factor - 1`` trials at a rung always continue, as there are too few to compare
    with (asynchronous successive halving, Li et al. 2018, 1810.05934). Several objectives are
    compared by the number of trials that dominate one; all values are to minimize.

    >>> is_among_best([0.3], [[0.1], [0.2], [0.4]], factor=2)
    False
    >>> is_among_best([0.3], [[0.1]], factor=3)
    True
    """
    everyone = [own, *others]
    if len(everyone) < factor:
        return True
    ranks = sorted(sum(dominates(b, a) for b in everyone) for a in everyone)
    rank = sum(dominates(other, own) for other in others)
    return rank <= ranks[max(1, len(everyone) // factor) - 1]


def dominates(one: Values, other: Values) -> bool:
    """Whether ``one`` is nowhere larger than ``other`` and somewhere smaller."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


#: Functions that decide whether a trial continues.
PRUNERS: dict[str, Callable[[Values, Sequence[Values], int], bool]] = {
    "none": lambda *_: True,
    "halving": is_among_best,
}
