"""How wide text is, about, without a font."""

import unicodedata

_NARROW = set("fijlrtI.,:;'|!()[]{} -\"/\\`")
_WIDE = set("mwMWG@%OQ")


def text_width(text: str, size: float) -> float:
    """Width of a line in a common sans-serif; a little more rather than less.

    >>> text_width("mill", 10) < text_width("mmmm", 10)
    True
    """
    return size * sum(map(_em, text))


def shortened(text: str, width: float, size: float) -> str:
    """The text, with an ellipsis in its midst where it is wider than ``width``.

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


def _em(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in _NARROW:
        return 0.38
    return 0.95 if character in _WIDE else 0.7 if character.isupper() else 0.61
