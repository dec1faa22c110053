"""Groups of arms that cannot be told apart."""

from collections.abc import Collection, Sequence
from string import ascii_lowercase


def letters(ordered: Sequence[str], apart: Collection[tuple[str, str]]) -> dict[str, str]:
    """A compact letter display: arms share a letter if no two that have it are apart.

    Insert and absorb (Piepho 2004, doi 10.1198/1061860043515): start with one group, split it
    at each pair that is apart, drop groups inside others.

    Args:
        ordered: the arms, best first; letters follow that order.
        apart: pairs that were told apart, each once, in either order.

    >>> letters(["x", "y", "z"], [("x", "z")])
    {'x': 'a', 'y': 'ab', 'z': 'b'}
    """
    groups = [frozenset(ordered)] if ordered else []
    for pair in apart:
        split = [
            part
            for group in groups
            for part in ([group - {arm} for arm in pair] if group >= set(pair) else [group])
        ]
        groups = [
            group
            for place, group in enumerate(split)
            if not any(group < other for other in split) and group not in split[:place]
        ]
    place = {arm: number for number, arm in enumerate(ordered)}
    groups.sort(key=lambda group: sorted(place[arm] for arm in group))
    return {
        arm: "".join(_letter(number) for number, group in enumerate(groups) if arm in group)
        for arm in ordered
    }


def _letter(number: int) -> str:
    """a … z, then a1 … z1 and so on."""
    turn, letter = divmod(number, len(ascii_lowercase))
    return ascii_lowercase[letter] + (str(turn) if turn else "")
