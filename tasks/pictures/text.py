"""Texts with their bytes in the colours of experts."""

from collections.abc import Iterator
from html import escape
from itertools import groupby

from ._base import Experts, Picture, css_class, words


class TextPicture(Picture):
    """A text of bytes; neighbouring characters of the same experts are one element.

    A character of several bytes has the experts of its first byte. Bytes that are no UTF-8 are
    shown as a replacement character.

    >>> TextPicture(b"ab").html([[0], [1]])
    '<p class="text"><span class="e0" title="expert 0">a</span><span class="e1" ...>b</span></p>'
    """

    def __init__(self, text: bytes) -> None:
        self.text = text

    def html(self, experts: Experts) -> str:
        whole = len(experts) == 1
        parts = []
        placed = ((tuple(experts[0 if whole else at]), char) for at, char in characters(self.text))
        for chosen, run in groupby(placed, lambda pair: pair[0]):
            shown = escape("".join(_visible(char) for _, char in run))
            title = words(chosen)
            parts.append(f'<span class="{css_class(chosen)}" title="{title}">{shown}</span>')
        return f'<p class="text">{"".join(parts)}</p>'


def characters(text: bytes) -> Iterator[tuple[int, str]]:
    """The place of the first byte of each character, and the character.

    >>> list(characters("aé".encode() + b"\\xff"))
    [(0, 'a'), (1, 'é'), (3, '\ufffd')]
    """
    place = 0
    for char in text.decode("utf-8", "surrogateescape"):
        yield place, "\ufffd" if "\udc80" <= char <= "\udcff" else char
        place += len(char.encode("utf-8", "surrogateescape"))


def _visible(char: str) -> str:
    """A character as it is shown: line ends with a mark, other control characters as a dot."""
    if char == "\n":
        return "↵\n"
    return char if char.isprintable() or char == "\t" else "·"
