"""The look of figures: colours of both themes, matplotlib settings, colour and marker per arm.

The seven arm colours were searched for: on white and on the dark page each has a contrast of
at least 3.3 to the background, and any two stay apart (OKLab distance above 0.11) for people with
full colour vision, protanopia, deuteranopia and tritanopia (Machado et al. 2009).
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from matplotlib import style
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D

from .text import font_families

ARM_COLORS = 7

#: Light and dark colour by name.
_COLORS = {
    "paper": ("#ffffff", "#15181d"),
    "ink": ("#1c2026", "#e9ebee"),
    "muted": ("#5a626d", "#a3abb6"),
    "faint": ("#dfe2e6", "#2d323a"),
    "others": ("#c9cdd3", "#444b55"),
    "dominated": ("#868d96", "#858d98"),
    "control": ("#6b7480", "#98a1ad"),
    "arm0": ("#0849b8", "#78b2e8"),
    "arm1": ("#cd5b05", "#d35d26"),
    "arm2": ("#089d78", "#a1e6b5"),
    "arm3": ("#720b5c", "#a6709f"),
    "arm4": ("#384100", "#eddb2b"),
    "arm5": ("#9681ca", "#7c72fc"),
    "arm6": ("#a03859", "#d99489"),
}

LIGHT: Mapping[str, str] = {name: light for name, (light, _) in _COLORS.items()}
DARK: Mapping[str, str] = {name: dark for name, (_, dark) in _COLORS.items()}
_NAMES = {color: name for name, color in LIGHT.items()}


def with_variables(style: str) -> str:
    """Replace light colours by CSS variables, so that a figure follows the theme of the page.

    Raises:
        KeyError: for a colour that is not in the palette, which would not follow.

    >>> with_variables("fill:#0849b8")
    'fill:var(--arm0)'
    """
    return re.sub(r"#[0-9a-f]{6}", lambda m: f"var(--{_NAMES[m[0]]})", style)


#: matplotlib markers in the order in which arms receive them.
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p", "h")
#: Dash patterns of the layers of one arm.
LAYER_DASHES: Sequence[Any] = ("-", (0, (3, 1.2)), (0, (1.2, 1.2)), (0, (4, 1.2, 1.2, 1.2)))

#: Points, which are pixels of the page.
TEXT, SMALL_TEXT, NAME = 10.0, 9.0, 11.0

_SETTINGS: Mapping[str, Any] = {
    **dict.fromkeys(("axes.facecolor", "savefig.facecolor", "savefig.edgecolor"), "none"),
    **dict.fromkeys(("axes.linewidth", "grid.linewidth", "xtick.major.width"), 1.0),
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color"), LIGHT["muted"]),
    **dict.fromkeys(("xtick.color", "ytick.color"), LIGHT["muted"]),
    **{f"axes.spines.{side}": False for side in ("left", "right", "top")},
    "figure.dpi": 72,
    "font.size": TEXT,
    "text.parse_math": False,
    "axes.formatter.limits": (-99, 99),  # no powers of ten next to the axis
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelpad": 1.0,
    "grid.color": LIGHT["faint"],
    "xtick.major.size": 3.0,
    "xtick.major.pad": 2.0,
    "ytick.major.size": 0.0,
    "ytick.major.pad": 5.0,
    "lines.dash_capstyle": "butt",
    "lines.solid_capstyle": "butt",
    "lines.solid_joinstyle": "round",
    "path.simplify": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the settings of the report, whatever the user's own matplotlibrc says."""
    settings = {**_SETTINGS, "font.family": list(font_families())}
    with style.context(["default", settings]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a script that the font lacks: boxes in PDF
        yield


def marker_path(marker: str, size: float) -> str:
    """Return the outline of a matplotlib marker around the origin as an SVG path."""
    shape = MarkerStyle(marker)
    outline = shape.get_path().transformed(shape.get_transform() + Affine2D().scale(size, -size))
    corners = np.concatenate(outline.to_polygons())
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in corners) + "Z"


@dataclass(frozen=True)
class ArmStyle:
    """Colour, by its name in the palette, and matplotlib marker of an arm."""

    color: str
    marker: str


class Styled(Protocol):
    """An arm as figures show it: its name and its style."""

    @property
    def label(self) -> str: ...

    @property
    def style(self) -> ArmStyle: ...


def arm_styles(arms: Sequence[tuple[str, str, bool]]) -> Mapping[str, ArmStyle]:
    """Return a style for each label; controls are grey.

    Colour and marker together identify an arm, so no figure relies on colour alone. ``arms`` are
    label, label of the arm whose colour it shares (mostly itself), and whether it is a control.

    >>> arm_styles([("topk", "topk", False), ("uniform", "uniform", True)])["uniform"]
    ArmStyle(color='control', marker='o')
    """
    bases = list(dict.fromkeys(base for _, base, control in arms if not control))
    found: dict[str, ArmStyle] = {}
    for label, base, control in arms:
        index = 0 if control else bases.index(base)
        color = "control" if control else f"arm{index % ARM_COLORS}"
        start = index % len(MARKERS)
        candidates = [ArmStyle(color, each) for each in (*MARKERS[start:], *MARKERS[:start])]
        found[label] = next((c for c in candidates if c not in found.values()), candidates[0])
    return found
