"""Many tests at once: Holm's correction of p-values, and groups of arms that do not differ."""

from collections.abc import Collection, Sequence
from itertools import count
from string import ascii_lowercase

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (Holm 1979).

    Rejecting hypotheses whose adjusted p-value is at most a level bounds the chance of any false
    rejection by that level, for any dependence between the tests. The i-th smallest of m p-values
    is multiplied by m - i + 1, then made monotone. A NaN raises ``ValueError``.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if np.isnan(p).any():
        raise ValueError("holm: a p-value is NaN; remove comparisons that were not tested")
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted.tolist()


def compact_letter_display(
    ordered: Sequence[str], different: Collection[tuple[str, str]]
) -> dict[str, str]:
    """Letters by arm; arms share a letter if no two arms with that letter are different.

    Args:
        ordered: the arms, best first; letters follow that order.
        different: significantly different pairs, each once, in either order.

    >>> compact_letter_display(["x", "y", "z"], [("x", "z")])
    {'x': 'a', 'y': 'ab', 'z': 'b'}
    """
    letters = (f"{letter}{cycle or ''}" for cycle in count() for letter in ascii_lowercase)
    lettered = list(zip(letters, cliques(ordered, different), strict=False))
    return {arm: "".join(letter for letter, group in lettered if arm in group) for arm in ordered}


def cliques(
    ordered: Sequence[str], different: Collection[tuple[str, str]]
) -> list[tuple[str, ...]]:
    """Largest groups of arms without a different pair, best first.

    Insert and absorb (Piepho 2004, doi 10.1198/1061860043515): start with one group, split it
    at each different pair, drop groups inside others.

    Args:
        ordered: the arms, best first; groups and their members follow that order.
        different: significantly different pairs, each once, in either order.

    >>> cliques(["x", "y", "z"], [("x", "z")])
    [('x', 'y'), ('y', 'z')]
    """
    groups = {frozenset(ordered)}
    for pair in different:
        split = {
            part
            for group in groups
            for part in ([group - {arm} for arm in pair] if group >= set(pair) else [group])
        }
        groups = {group for group in split if not any(group < other for other in split)}
    return [
        tuple(ordered[place] for place in places)
        for places in sorted(sorted(map(ordered.index, group)) for group in groups)
    ]
