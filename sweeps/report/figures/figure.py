"""Figures before they are drawn: panels with a drawing function each."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Width of a small multiple, in points.
SMALL = 200.0

#: Control characters and halves of surrogate pairs, which HTML and XML forbid.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Panel:
    """One plot of a figure.

    Attributes:
        title: shown above it; may be empty.
        alt: its content in words and numbers, for readers who do not see it.
        draw: draws into the axes of the panel.
        height, width: of the whole panel, in points.
        margins: left, right, top and bottom of the axes, for tick labels and names.
        arm: label of the arm that it shows, if it shows one.
    """

    title: str
    alt: str
    draw: "Callable[[Axes], None]"
    height: float = 142.0
    width: float = SMALL
    margins: tuple[float, float, float, float] = (34.0, 8.0, 8.0, 30.0)
    arm: str | None = None


@dataclass(frozen=True)
class Figure:
    """Panels that belong together.

    Attributes:
        name: of its files.
        title, caption: text around it.
        panels: at least one.
        columns: number of panels in a row of the files; on the page they flow.
        title_width: room for titles left of the panels in the files; 0 puts them above.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    columns: int = 4
    title_width: float = 0.0


def printable(text: str) -> str:
    """Replace characters that HTML and XML forbid, so that every text can be drawn.

    >>> ascii(printable("a\\x07b"))
    "'a\\\\ufffdb'"
    """
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """Return printable text without line breaks, which matplotlib would draw as separate lines.

    >>> one_line("a\\nb")
    'a b'
    """
    return printable(" ".join(text.split()))
