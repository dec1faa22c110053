"""Small multiples of curves over training: one panel per arm, the others in grey behind it."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from ..formatting import compact
from ..logs import Curve
from .axes import Scale, add_dots, add_y_label, linear
from .render import Figure, Panel
from .style import LAYER_DASHES, LIGHT, SMALL_TEXT, Styled

_HEIGHT, _MARGINS = 142.0, (46.0, 18.0, 8.0, 30.0)
_PLOT = _HEIGHT - 38.0
_LINE = 10.0  # between the names of two layers
_MAX_BACKGROUND_POINTS = 40

#: An arm with its curves: one, or one per layer.
ArmCurves = tuple[Styled, Sequence[Curve]]


def curve_figure(
    name: str,
    title: str,
    caption: str,
    curves: Sequence[ArmCurves],
    label: str,
    *,
    layered: bool,
    across: str = "step",
    x: Scale | None = None,
) -> Figure | None:
    """Return a panel per arm that has curves, all with the same axes; None without any.

    ``label`` names the vertical axis, ``across`` the horizontal one, which is ``x``, by default
    the steps of all curves. Curves of layers start at 0; a single curve of an arm has those of the
    others behind it.
    """
    flat = [curve for _, each in curves for curve in each]
    if not flat:
        return None
    scale = x or Scale(0.0, max(1, *(curve.steps[-1] for curve in flat)), whole=True)
    y = linear((v for curve in flat for v in (*curve.low, *curve.high)), zero=layered)

    def panel(arm: Styled, own: Sequence[Curve]) -> Panel:
        def draw(axes: Axes) -> None:
            scale.apply(axes, "x")
            y.apply(axes, "y")
            axes.set_xlabel(across, loc="right")
            add_y_label(axes, label, _MARGINS[0])
            if not layered:
                _draw_background([each[0] for other, each in curves if other is not arm], axes)
            _draw_curves(own, arm, axes)
            _name_layers(own, y, axes)

        ends = "; ".join(
            f"{curve.name or 'value'} from {compact(curve.mean[0])} to {compact(curve.mean[-1])}"
            for curve in own
        )
        alt = f"{title}, {arm.label}: {ends}"
        return Panel(arm.label, alt, draw, _HEIGHT, margins=_MARGINS, arm=arm.label)

    return Figure(name, title, caption, [panel(arm, own) for arm, own in curves if own])


def _draw_background(curves: Sequence[Curve], axes: Axes) -> None:
    """Draw all curves as one line with gaps and with fewer points, to keep the page small."""
    x: list[float] = []
    y: list[float] = []
    for curve in curves:
        every = -(-len(curve.steps) // _MAX_BACKGROUND_POINTS)
        x += [*curve.steps[::every], math.nan]
        y += [*curve.mean[::every], math.nan]
    axes.plot(x, y, color=LIGHT["others"], linewidth=0.9)


def _draw_curves(curves: Sequence[Curve], arm: Styled, axes: Axes) -> None:
    color = LIGHT[arm.style.color]
    for number, curve in enumerate(curves):
        if len(curve.steps) == 1:
            add_dots(axes, curve.steps, curve.mean, arm.style, radius=4)
            continue
        if curve.low != curve.mean or curve.high != curve.mean:
            outline = [*curve.steps, *reversed(curve.steps)], [*curve.high, *reversed(curve.low)]
            axes.fill(*outline, color=color, alpha=0.18, linewidth=0)
        dash = LAYER_DASHES[number % len(LAYER_DASHES)]
        axes.plot(curve.steps, curve.mean, color=color, linewidth=1.7, linestyle=dash)


def _name_layers(own: Sequence[Curve], y: Scale, axes: Axes) -> None:
    """Write names at the ends of the curves, pushed apart, if there is room for all."""
    ends = sorted((curve.mean[-1], curve.name) for curve in own if curve.name)
    if not 2 <= len(ends) <= _PLOT // _LINE:
        return
    floor = -_LINE
    for number, (value, name) in enumerate(ends):
        height = _PLOT * (value - y.low) / (y.high - y.low)
        floor = min(max(height, floor + _LINE), _PLOT - _LINE * (len(ends) - 1 - number))
        end = (1, floor / _PLOT), (4, 0), "axes fraction", "offset points"
        axes.annotate(name, *end, verticalalignment="center_baseline", size=SMALL_TEXT)
