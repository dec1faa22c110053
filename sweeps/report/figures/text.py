"""Text in figures: the font that PDF files embed, shortened names, and names next to points."""

import atexit
import itertools
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.textpath import text_to_path

#: Comes with matplotlib, and is the fallback for characters that the subset lacks.
FONT, _SUBSET = "DejaVu Sans", "DejaVu Sans Subset"
#: Latin, punctuation and the minus sign.
_CHARACTERS = (*range(0x20, 0x180), *range(0x2010, 0x2030), 0x2212)


@cache
def font_families() -> tuple[str, str]:
    """Register a subset of the font with common characters; return its family and the fallback.

    A PDF file embeds the glyphs that it uses. To cut them out of the whole font, for each file,
    takes longer than to draw the figure.
    """
    from fontTools import subset

    options = subset.Options(hinting=False, layout_features=[], name_IDs=["*"])
    options.drop_tables += ["FFTM"]
    folder = TemporaryDirectory(prefix="report-font-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "subset.ttf"
    with subset.load_font(findfont(FONT), options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=_CHARACTERS)
        subsetter.subset(font)
        for record in font["name"].names:
            record.string = _SUBSET.replace(" ", "") if record.nameID == 6 else _SUBSET
        subset.save_font(font, str(path), options)
    fontManager.addfont(path)
    return _SUBSET, FONT


@cache
def text_width(text: str, size: float) -> float:
    """Return the width of a line in points; the font is wider than most fonts of browsers.

    >>> text_width("mill", 10) < text_width("mmmm", 10)
    True
    """
    font = FontProperties(family=FONT, size=size)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def shortened(text: str, width: float, size: float) -> str:
    """Return the text, with an ellipsis in its middle where it is wider than ``width``.

    Names often differ at their ends, so both ends stay.

    >>> shortened("expert_choice, trial 8", 90, 10)
    'expert_ch…trial 8'
    """
    if text_width(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head = (kept + 1) // 2
        cut = f"{text[:head].rstrip()}…{text[len(text) - kept + head :].lstrip()}"
        if text_width(cut, size) <= width:
            return cut
    return "…"


#: Directions in the order in which they are tried: right, left, above, below, then the corners.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_DISTANCES = (8.0, 16.0, 28.0, 44.0, 60.0)

Point = tuple[float, float]
#: Left, bottom, right and top of a name; left, top, width and height of a panel.
Box = tuple[float, float, float, float]


def place_labels(
    points: Sequence[Point],
    names: Sequence[str],
    bounds: Box,
    size: float,
    lines: Iterable[tuple[Point, Point]] = (),
) -> list[Box | None]:
    """Return a box for each name, or None where there is no room for it.

    Names are placed in order, each at the nearest position that is inside the bounds (left,
    bottom, right, top), off all points, off the horizontal and vertical lines and off the names
    before it. All coordinates are in points.

    >>> place_labels([(50, 50)], ["a"], (0, 0, 100, 100), 10)[0][:2]
    (58.0, 44.25)
    """
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    for (x, y), (to_x, to_y) in lines:
        taken.append((min(x, to_x) - 1, min(y, to_y) - 1, max(x, to_x) + 1, max(y, to_y) + 1))
    places: list[Box | None] = []
    for (x, y), name in zip(points, names, strict=True):
        width, height = text_width(name, size), size * 1.15
        places.append(None)
        for distance, (dx, dy) in itertools.product(_DISTANCES, _DIRECTIONS):
            left = x + dx * distance - width * (1 - dx) / 2
            bottom = y + dy * distance - height / 2
            box = (left, bottom, left + width, bottom + height)
            inside = left >= bounds[0] and bottom >= bounds[1]
            inside = inside and box[2] <= bounds[2] and box[3] <= bounds[3]
            if inside and not any(overlap(box, other) for other in taken):
                places[-1] = box
                taken.append(box)
                break
    return places


def overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share some area."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
