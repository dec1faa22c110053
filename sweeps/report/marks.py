"""What every figure is made of: a few marks on a panel, each in a named ink."""

from collections.abc import Sequence
from dataclasses import dataclass, field

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """An open line; ``dash`` as in SVG, such as ``4 2``."""

    points: Sequence[Point]
    ink: str = "ink"
    width: float = 1.5
    dash: str = ""
    opacity: float = 1.0


@dataclass(frozen=True)
class Area:
    """A filled polygon without an outline."""

    points: Sequence[Point]
    ink: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Boxes:
    """Rectangles ``(x, y, width, height)`` of one colour."""

    boxes: Sequence[tuple[float, float, float, float]]
    ink: str
    opacity: float = 1.0


@dataclass(frozen=True)
class Dot:
    """A marker; ``shape`` is one of ``shapes.SHAPES``, ``tip`` shows under the pointer."""

    x: float
    y: float
    shape: str
    ink: str
    size: float = 4.0
    hollow: bool = False
    tip: str = ""


@dataclass(frozen=True)
class Text:
    """One line of text.

    ``anchor`` is ``start``, ``middle`` or ``end`` of it; a ``halo`` keeps lines behind it away.
    """

    x: float
    y: float
    text: str
    anchor: str = "start"
    ink: str = "muted"
    size: float = 11.0
    bold: bool = False
    halo: bool = False


Mark = Line | Area | Boxes | Dot | Text


@dataclass(frozen=True)
class Panel:
    """A picture: marks in a box whose origin is at the top left.

    Attributes:
        title: shown above it; may be empty.
        alt: what it shows, in words and numbers, for those who do not see it.
        marks: in the order they are drawn.
        key: label of the arm it is about, if it is about one.
    """

    width: float
    height: float
    title: str
    alt: str
    marks: Sequence[Mark]
    key: str | None = None


@dataclass(frozen=True)
class Figure:
    """Panels that belong together.

    Attributes:
        name: of its files.
        title, caption: text around it.
        panels: at least one.
        columns: how many stand side by side on paper; on a page they flow.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel] = field(default_factory=list)
    columns: int = 4
