"""One colour, marker and dash per arm, the same in every figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .inks import ARMS
from .shapes import SHAPES

_DASHES = ("", "6 2", "2 2", "7 2 2 2")
_SHAPES = tuple(SHAPES)


@dataclass(frozen=True)
class Style:
    """How an arm looks."""

    ink: str
    shape: str
    dash: str = ""


def styles(arms: Sequence[tuple[str, str, bool]]) -> Mapping[str, Style]:
    """A style for each label; controls are grey.

    Colour, marker and dash together tell arms apart, so no figure relies on colour alone.

    Args:
        arms: label, label of the arm whose colour it shares (mostly itself), and whether it is
            a control, in the order of the sweep.

    >>> styles([("topk", "topk", False), ("uniform", "uniform", True)])["uniform"]
    Style(ink='control', shape='circle', dash='')
    """
    colored = list(dict.fromkeys(base for _, base, control in arms if not control))
    inks = {base: f"arm{i % ARMS}" for i, base in enumerate(colored)}
    found: dict[str, Style] = {}
    for label, base, control in arms:
        ink = "control" if control else inks[base]
        first = 0 if control else colored.index(base)
        looks = _looks(ink, first)
        found[label] = next((look for look in looks if look not in found.values()), looks[0])
    return found


def _looks(ink: str, first: int) -> list[Style]:
    """All looks of a colour, from one marker on."""
    shapes = [_SHAPES[(first + i) % len(_SHAPES)] for i in range(len(_SHAPES))]
    return [Style(ink, shape, dash) for dash in _DASHES for shape in shapes]
