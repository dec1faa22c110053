"""Small multiples of curves over training: one panel per arm, the others in grey behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .frame import frame
from .marks import Area, Dot, Figure, Line, Mark, Panel, Text
from .metrics import Curve
from .numbers import compact
from .scales import Scale, around, counts
from .styles import Style

_WIDTH, _HEIGHT = 200.0, 142.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 18.0, 8.0, 112.0
#: Of the layers of one arm, in turn.
_LAYER_DASHES = ("", "5 2", "2 2", "7 2 2 2")
_OTHERS = Style("others", "circle")
_COARSE = 40


def curve_figure(
    name: str,
    title: str,
    caption: str,
    curves: Mapping[str, Sequence[Curve]],
    looks: Mapping[str, Style],
    *,
    from_zero: bool,
    background: bool = True,
) -> Figure | None:
    """One panel per arm that has curves, all with the same axes; None if none has.

    Args:
        name, title, caption: of the figure.
        curves: of each arm; several are layers.
        looks: of each arm.
        from_zero: whether the vertical axis has to show 0.
        background: whether the other arms' curves are drawn in grey.
    """
    shown = {label: each for label, each in curves.items() if each}
    if not shown:
        return None
    flat = [one for each in shown.values() for one in each]
    x = counts(max(step for one in flat for step in one.steps), _LEFT, _WIDTH - _RIGHT)
    values = (v for one in flat for v in (*one.low, *one.high))
    y = around(values, _BOTTOM, _TOP, zero=from_zero, pad=0.08)
    panels = []
    for label, own in shown.items():
        others = [one for other, each in shown.items() if other != label for one in each]
        marks = frame(x, y, x_name="step")
        if background:
            marks += [_path(_coarse(one), x, y, _OTHERS, 0.9) for one in others]
        for number, one in enumerate(own):
            marks += _curve(one, x, y, looks[label], number)
        marks += _end_names(own, x, y)
        panels.append(Panel(_WIDTH, _HEIGHT, label, _alt(title, label, own), marks, label))
    return Figure(name, title, caption, panels)


def _coarse(one: Curve) -> Curve:
    """Fewer points for what is drawn thin in every panel, to keep the page small."""
    every = -(-len(one.steps) // _COARSE)
    return replace(one, steps=one.steps[::every], mean=one.mean[::every])


def _curve(one: Curve, x: Scale, y: Scale, look: Style, number: int) -> list[Mark]:
    if len(one.steps) == 1:
        return [Dot(x(one.steps[0]), y(one.mean[0]), look.shape, look.ink)]
    marks: list[Mark] = []
    if one.low != one.mean or one.high != one.mean:
        there = [(x(s), y(v)) for s, v in zip(one.steps, one.high, strict=True)]
        back = [(x(s), y(v)) for s, v in zip(one.steps, one.low, strict=True)]
        marks.append(Area([*there, *reversed(back)], look.ink, opacity=0.18))
    dash = _LAYER_DASHES[number % len(_LAYER_DASHES)]
    marks.append(_path(one, x, y, Style(look.ink, look.shape, dash), 1.7))
    return marks


def _path(one: Curve, x: Scale, y: Scale, look: Style, width: float) -> Line:
    points = [(x(step), y(value)) for step, value in zip(one.steps, one.mean, strict=True)]
    if len(points) == 1:
        points = [(points[0][0] - 2, points[0][1]), (points[0][0] + 2, points[0][1])]
    return Line(points, look.ink, width, look.dash)


def _end_names(own: Sequence[Curve], x: Scale, y: Scale) -> list[Mark]:
    """Names of layers at the ends of their curves, pushed apart, as many as there is room for."""
    ends = sorted((y(one.mean[-1]), one.name) for one in own if one.name)
    marks: list[Mark] = []
    floor = _TOP - 4.0
    most = int((_BOTTOM - _TOP) / 10)
    if len(ends) < 2 or len(ends) > most:
        return marks
    for i, (at, name) in enumerate(ends):
        at = min(max(at, floor + 10), _BOTTOM - 10 * (len(ends) - 1 - i))
        floor = at
        marks.append(Text(x.end + 4, at + 3, name, size=9))
    return marks


def _alt(title: str, label: str, own: Sequence[Curve]) -> str:
    ends = "; ".join(
        f"{one.name or 'value'} from {compact(one.mean[0])} to {compact(one.mean[-1])}"
        for one in own
    )
    return f"{title}, {label}: {ends}"
