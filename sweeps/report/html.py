"""HTML and SVG as nested calls; whatever is not markup already is escaped."""

import re
from html import escape

_VOID = {"br", "col"}
#: Control characters and halves of surrogate pairs, which HTML and XML forbid.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Safe(str):
    """Markup, as opposed to text that has to be escaped."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | None) -> Safe:
    """An element.

    Args:
        name: of it.
        children: markup stays as it is, other text is escaped.
        attributes: ``_`` stands for ``-``, an underscore at the end for nothing (``class_``);
            None leaves an attribute out.

    >>> tag("p", "a < b", tag("b", "c"), class_="x", aria_label='"')
    '<p class="x" aria-label="&quot;">a &lt; b<b>c</b></p>'
    """
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
    given = "".join(f' {key}="{escape(_clean(v))}"' for key, v in named.items() if v is not None)
    if name in _VOID:
        return Safe(f"<{name}{given}>")
    return Safe(f"<{name}{given}>{join(*children)}</{name}>")


def join(*parts: str) -> Safe:
    """Parts side by side, text among them escaped."""
    return Safe("".join(p if isinstance(p, Safe) else _escaped(p) for p in parts))


def _escaped(text: str) -> str:
    return escape(_clean(text), quote=False)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
