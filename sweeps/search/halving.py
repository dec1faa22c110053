"""Successive halving by rungs of our own, for one objective and for several."""

from collections.abc import Callable, Sequence

Values = Sequence[float]


def rungs(first: int, factor: int, epochs: int) -> list[int]:
    """Epochs at which trials are compared, the last epoch left out.

    >>> rungs(1, 3, 27)
    [1, 3, 9]
    """
    found = []
    epoch = first
    while epoch < epochs:
        found.append(epoch)
        epoch *= factor
    return found


def among_best(own: Values, others: Sequence[Values], factor: int) -> bool:
    """Whether a trial is of the best ``1/factor`` of those that reached its rung.

    The first ``factor - 1`` trials at a rung have too few to be compared with and go on
    (asynchronous successive halving, Li et al. 2018, 1810.05934). Several objectives are
    compared by the number of trials that dominate one.

    Args:
        own: values to minimise.
        others: of the other trials at this rung.
        factor: one of so many goes on.

    >>> among_best([0.3], [[0.1], [0.2], [0.4]], factor=2), among_best([0.3], [[0.1]], factor=3)
    (False, True)
    """
    everyone = [own, *others]
    if len(everyone) < factor:
        return True
    ranks = sorted(sum(dominates(b, a) for b in everyone) for a in everyone)
    rank = sum(dominates(other, own) for other in others)
    return rank <= ranks[max(1, len(everyone) // factor) - 1]


def dominates(one: Values, other: Values) -> bool:
    """Whether ``one`` is nowhere larger and somewhere smaller."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def never(own: Values, others: Sequence[Values], factor: int) -> bool:
    """Every trial goes on."""
    return True


#: Whether a trial goes on.
Pruner = Callable[[Values, Sequence[Values], int], bool]

PRUNERS: dict[str, Pruner] = {"none": never, "halving": among_best}
