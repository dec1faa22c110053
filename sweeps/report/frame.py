"""The quiet surroundings of a plot: grid, ticks, names of the axes."""

from .marks import Line, Mark, Text
from .scales import Scale

SIZE = 10.0
_ROOM = 7.0  # between two tick labels


def frame(x: Scale, y: Scale, *, x_name: str = "", y_name: str = "") -> list[Mark]:
    """Grid lines, tick labels and names.

    Args:
        x, y: the axes; ``y.start`` is its lower end.
        x_name: below the horizontal axis.
        y_name: above the vertical axis, written horizontally.
    """
    return [*rules(x, y, y_name), *foot(x, y.start, x_name)]


def rules(x: Scale, y: Scale, name: str = "") -> list[Mark]:
    """Grid lines at the ticks of the vertical axis, their labels, and its name."""
    marks: list[Mark] = []
    for value, label in zip(y.ticks, y.labels, strict=True):
        at = y(value)
        marks += [
            Line([(x.start, at), (x.end, at)], ink="faint", width=1),
            Text(x.start - 5, at + 3.5, label, "end", size=SIZE),
        ]
    marks.append(Line([(x.start, y.start), (x.end, y.start)], ink="muted", width=1))
    if name:
        marks.append(Text(0, 10, name, size=SIZE))
    return marks


def foot(x: Scale, bottom: float, name: str = "") -> list[Mark]:
    """Ticks of the horizontal axis, as many labels as fit, and its name."""
    marks: list[Mark] = []
    for value, label in spaced(x):
        at = x(value)
        marks += [
            Line([(at, bottom), (at, bottom + 3)], ink="muted", width=1),
            Text(at, bottom + 13, label, "middle", size=SIZE),
        ]
    if name:
        marks.append(Text(x.end, bottom + 27, name, "end", size=SIZE))
    return marks


def spaced(x: Scale) -> list[tuple[float, str]]:
    """Ticks and labels of a horizontal axis, less those that would touch."""
    kept: list[tuple[float, str]] = []
    taken = -1e9
    for value, label in zip(x.ticks, x.labels, strict=True):
        half = 0.3 * SIZE * len(label)
        if x(value) - half > taken:
            kept.append((value, label))
            taken = x(value) + half + _ROOM
    return kept
