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


def styles(arms: Sequence[tuple[str, bool]]) -> Mapping[str, Style]:
    """A style for each label; controls are grey.

    Colour and marker together tell 49 arms apart, so no figure relies on colour alone.

    Args:
        arms: label and whether it is a control, in the order of the sweep.

    >>> styles([("topk", False), ("uniform", True)])["uniform"]
    Style(ink='control', shape='circle', dash='')
    """
    routers = [label for label, control in arms if not control]
    controls = [label for label, control in arms if control]
    found = {label: _nth(i, f"arm{i % ARMS}") for i, label in enumerate(routers)}
    return found | {
        label: Style("control", _SHAPES[i % len(_SHAPES)], _DASHES[i % len(_DASHES)])
        for i, label in enumerate(controls)
    }


def _nth(i: int, ink: str) -> Style:
    turn = i // ARMS
    return Style(ink, _SHAPES[(i + turn) % len(_SHAPES)], _DASHES[turn % len(_DASHES)])
