"""Colours by name, for light and dark.

The seven colours of arms were searched for: on white and on the dark page each has a contrast of
at least 3.3 to the ground, and any two stay apart (OKLab distance above 0.11) for people with
full colour vision, protanopia, deuteranopia and tritanopia (Machado et al. 2009).
"""

from collections.abc import Mapping

ARMS = 7

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#1c2026",
    "muted": "#5a626d",
    "faint": "#dfe2e6",
    "others": "#c9cdd3",
    "dominated": "#868d96",
    "control": "#6b7480",
    "heat": "#0849b8",
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
    "heat": "#78b2e8",
    "arm0": "#78b2e8",
    "arm1": "#d35d26",
    "arm2": "#a1e6b5",
    "arm3": "#a6709f",
    "arm4": "#eddb2b",
    "arm5": "#7c72fc",
    "arm6": "#d99489",
}


def as_variable(ink: str) -> str:
    """What an SVG inside the page says, so that it follows the page's theme.

    >>> as_variable("arm0")
    'var(--arm0)'
    """
    return f"var(--{ink})"


def as_light(ink: str) -> str:
    """What a file for print says.

    >>> as_light("paper")
    '#ffffff'
    """
    return LIGHT[ink]


def declarations(inks: Mapping[str, str]) -> str:
    """The colours as CSS custom properties."""
    return "".join(f"--{name}:{value};" for name, value in inks.items())
