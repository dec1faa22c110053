"""Text in figures: the font that PDF files embed, width of text, and shortened names."""

import atexit
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
