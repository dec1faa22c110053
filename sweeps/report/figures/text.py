"""Width of text in figures, and names shortened to fit."""

from functools import cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from .style import FONT


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
    'expert_…, trial 8'
    """
    if text_width(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        head = (kept + 1) // 2
        cut = f"{text[:head].rstrip()}…{text[len(text) - kept + head :].lstrip()}"
        if text_width(cut, size) <= width:
            return cut
    return "…"
