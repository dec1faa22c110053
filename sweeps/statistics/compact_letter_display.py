"""Compact letter display: groups of arms that are not significantly different."""

from collections.abc import Collection, Sequence
from string import ascii_lowercase


def compact_letter_display(
    ordered: Sequence[str], different: Collection[tuple[str, str]]
) -> dict[str, str]:
    """Letters by arm; arms share a letter if no two arms with that letter are different.

    Insert and absorb (Piepho 2004, doi 10.1198/1061860043515): start with one group, split it
    at each different pair, drop groups inside others.

    Args:
        ordered: the arms, best first; letters follow that order.
        different: significantly different pairs, each once, in either order.

    >>> compact_letter_display(["x", "y", "z"], [("x", "z")])
    {'x': 'a', 'y': 'ab', 'z': 'b'}
    """
    groups = [frozenset(ordered)] if ordered else []
    for pair in different:
        split = [
            part
            for group in groups
            for part in ([group - {arm} for arm in pair] if group >= set(pair) else [group])
        ]
        groups = [
            group
            for index, group in enumerate(split)
            if not any(group < other for other in split) and group not in split[:index]
        ]
    index = {arm: number for number, arm in enumerate(ordered)}
    groups.sort(key=lambda group: sorted(index[arm] for arm in group))
    return {
        arm: "".join(_letter(number) for number, group in enumerate(groups) if arm in group)
        for arm in ordered
    }


def _letter(number: int) -> str:
    """a … z, then a1 … z1 and so on."""
    cycle, letter = divmod(number, len(ascii_lowercase))
    return ascii_lowercase[letter] + (str(cycle) if cycle else "")
