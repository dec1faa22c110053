"""Colours of figures and page by name, for light and dark.

The seven arm colours were searched for: on white and on the dark page each has a contrast of
at least 3.3 to the background, and any two stay apart (OKLab distance above 0.11) for people with
full colour vision, protanopia, deuteranopia and tritanopia (Machado et al. 2009).
"""

import re
from collections.abc import Mapping

ARM_COLORS = 7

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#1c2026",
    "muted": "#5a626d",
    "faint": "#dfe2e6",
    "others": "#c9cdd3",
    "dominated": "#868d96",
    "control": "#6b7480",
    "arm0": "#0849b8",
    "arm1": "#cd5b05",
    "arm2": "#089d78",
    "arm3": "#720b5c",
    "arm4": "#384100",
    "arm5": "#9681ca",
    "arm6": "#a03859",
}

DARK: Mapping[str, str] = {
    "paper": "#15181d",
    "ink": "#e9ebee",
    "muted": "#a3abb6",
    "faint": "#2d323a",
    "others": "#444b55",
    "dominated": "#858d98",
    "control": "#98a1ad",
    "arm0": "#78b2e8",
    "arm1": "#d35d26",
    "arm2": "#a1e6b5",
    "arm3": "#a6709f",
    "arm4": "#eddb2b",
    "arm5": "#7c72fc",
    "arm6": "#d99489",
}

_NAMES = {color: name for name, color in LIGHT.items()}


def css_variables(theme: Mapping[str, str]) -> str:
    """CSS custom properties of a theme, such as ``--paper:#ffffff;``."""
    return "".join(f"--{name}:{color};" for name, color in theme.items())


def with_variables(style: str) -> str:
    """Replace light colours by CSS variables, so that a figure follows the theme of the page.

    Raises:
        KeyError: for a colour that is not in the palette, which would not follow.

    >>> with_variables("fill:#0849b8")
    'fill:var(--arm0)'
    """
    return re.sub(r"#[0-9a-f]{6}", lambda m: f"var(--{_NAMES[m[0]]})", style)
