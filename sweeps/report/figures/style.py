"""The look of figures: matplotlib settings, and one colour and marker per arm."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D

from .palette import ARM_COLORS, LIGHT
from .text import font_families

#: matplotlib markers in the order in which arms receive them.
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p", "h")
#: Dash patterns of the layers of one arm.
LAYER_DASHES: Sequence[Any] = ("-", (0, (3, 1.2)), (0, (1.2, 1.2)), (0, (4, 1.2, 1.2, 1.2)))

#: Points, which are pixels of the page.
TEXT, SMALL_TEXT, NAME = 10.0, 9.0, 11.0

_SETTINGS: Mapping[str, Any] = {
    "figure.dpi": 72,
    "font.size": TEXT,
    "text.color": LIGHT["muted"],
    "text.parse_math": False,
    "axes.edgecolor": LIGHT["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelpad": 1.0,
    "axes.linewidth": 1.0,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": LIGHT["faint"],
    "grid.linewidth": 1.0,
    "xtick.color": LIGHT["muted"],
    "xtick.major.size": 3.0,
    "xtick.major.width": 1.0,
    "xtick.major.pad": 2.0,
    "ytick.color": LIGHT["muted"],
    "ytick.major.size": 0.0,
    "ytick.major.pad": 5.0,
    "lines.dash_capstyle": "butt",
    "lines.solid_capstyle": "butt",
    "lines.solid_joinstyle": "round",
    "path.simplify": False,
    "savefig.facecolor": "none",
    "savefig.edgecolor": "none",
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


def arm_styles(arms: Sequence[tuple[str, str, bool]]) -> Mapping[str, ArmStyle]:
    """Return a style for each label; controls are grey.

    Colour and marker together identify an arm, so no figure relies on colour alone.

    Args:
        arms: label, label of the arm whose colour it shares (mostly itself), and whether it is
            a control, in the order of the sweep.

    >>> arm_styles([("topk", "topk", False), ("uniform", "uniform", True)])["uniform"]
    ArmStyle(color='control', marker='o')
    """
    bases = list(dict.fromkeys(base for _, base, control in arms if not control))
    found: dict[str, ArmStyle] = {}
    for label, base, control in arms:
        index = 0 if control else bases.index(base)
        color = "control" if control else f"arm{index % ARM_COLORS}"
        shifted = (*MARKERS[index % len(MARKERS) :], *MARKERS[: index % len(MARKERS)])
        candidates = [ArmStyle(*pair) for pair in product([color], shifted)]
        taken = set(found.values())
        found[label] = next((c for c in candidates if c not in taken), candidates[0])
    return found
