"""Selectors of routed layers by number: ``0``, ``1-3``, ``2-``, ``-3``, or several as ``0,2-``."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from routers import ConfigError

_RANGE = re.compile(r"(?P<first>[0-9]{0,9})(?P<dash>-?)(?P<last>[0-9]{0,9})")


@dataclass(frozen=True)
class Selector:
    """Some of the routed layers of a network, which are counted from 0.

    Attributes:
        text: as written.
        ranges: the first and the last layer of each part of the text; the last may be infinite.

    >>> few = Selector.read("0,2-")
    >>> [layer for layer in range(5) if few.selects(layer)]
    [0, 2, 3, 4]
    >>> [layer for layer in range(5) if Selector.read("-2").selects(layer)]
    [0, 1, 2]
    """

    text: str
    ranges: tuple[tuple[int, float], ...]

    @classmethod
    def read(cls, text: str) -> "Selector":
        """The selector that a key of ``layers`` contains; ``ConfigError`` if it is none."""
        parts = [part.strip() for part in text.split(",")]
        ranges = [_read_range(part) for part in parts]
        if None in ranges:
            raise ConfigError(
                f"layers.{text}: expected the number of a layer, from 0, a range such as 1-3, 2- "
                "or -3, or several of them as in 0,2-"
            )
        return cls(",".join(parts), tuple(each for each in ranges if each is not None))

    def selects(self, layer: int) -> bool:
        """Whether the layer with this number is among them."""
        return any(first <= layer <= last for first, last in self.ranges)

    def overlaps(self, other: "Selector") -> bool:
        """Whether both select some layer.

        >>> some = Selector.read("2-4")
        >>> some.overlaps(Selector.read("4-")), some.overlaps(Selector.read("0,5"))
        (True, False)
        """
        layers = first_layers([self, other])
        return any(self.selects(layer) and other.selects(layer) for layer in layers)

    def check(self, layers: int) -> None:
        """Raise ``ConfigError`` for a part that selects none of a number of layers."""
        for part, (first, _) in zip(self.text.split(","), self.ranges, strict=True):
            if first >= layers:
                known = f"{layers} routed layers, 0 to {layers - 1}" if layers > 1 else "layer 0"
                raise ConfigError(
                    f"layers.{self.text}: {part} selects no layer; "
                    f"the network has {known if layers else 'no routed layer'}"
                )


def first_layers(selectors: Iterable[Selector]) -> list[int]:
    """Layers at which a selection begins or has ended: all others are treated as the one before.

    >>> first_layers([Selector.read("1-3"), Selector.read("2-")])
    [0, 1, 2, 4]
    """
    ranges = [each for selector in selectors for each in selector.ranges]
    ends = {int(last) + 1 for _, last in ranges if last < math.inf}
    return sorted({0, *(first for first, _ in ranges), *ends})


def _read_range(part: str) -> tuple[int, float] | None:
    """First and last layer of a part of a selector; None if it is no range."""
    found = _RANGE.fullmatch(part)
    if found is None or not (found["first"] or found["last"]):
        return None
    first = int(found["first"] or 0)
    if not found["dash"]:
        return first, first
    last = int(found["last"]) if found["last"] else math.inf
    return (first, last) if first <= last else None
