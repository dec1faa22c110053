"""The part on trade-offs: which arms no other arm beats on two objectives at once."""

from itertools import combinations

from ..config.objectives import Objective
from ..statistics.pareto import pareto_front
from .html import tag
from .marks import Panel
from .material import Material
from .pareto import Spot, Way, pareto_figure, pareto_panel
from .section import Section, figure_html

#: Shown whether or not they were objectives.
_ALWAYS = (
    Objective("compute.flops_per_item", "minimize"),
    Objective("load.max_violation", "minimize"),
)
_MOST = 6


def tradeoff_section(material: Material) -> Section | None:
    """Score against FLOPs, score against imbalance, imbalance against FLOPs, and more."""
    named = list(material.sweep.objectives)
    metrics = {each.metric for each in named}
    axes = [*named, *(each for each in _ALWAYS if each.metric not in metrics)]
    pairs = sorted(combinations(range(len(axes)), 2), key=sum)
    panels = [
        panel
        for one, other in pairs
        if (panel := _panel(material, axes[other], axes[one])) is not None
    ][:_MOST]
    if not panels:
        return None
    figure = pareto_figure(
        panels,
        "Means over fresh seeds. Filled: no other arm is at least as good in both and better in "
        "one; the dashed line bounds what they leave behind. Hollow and grey: dominated.",
    )
    note = tag(
        "p",
        "Fronts are drawn through means and know nothing of their intervals: arms that the "
        "leaderboard cannot tell apart may change sides with other seeds.",
        class_="note",
    )
    html = figure_html(figure, material.looks, heading=False)
    return Section("tradeoffs", "Trade-offs", tag("div", html, note), [figure])


def _panel(material: Material, across: Objective, up: Objective) -> Panel | None:
    """A plane with all arms that have both numbers; None where there is nothing to trade."""
    ranked = [each for each in material.entrants if each.row.rank is not None]
    points = [(each, each.mean(across.metric), each.mean(up.metric)) for each in ranked]
    known = [(each, x, y) for each, x, y in points if x is not None and y is not None]
    if len({x for _, x, _ in known}) < 2 and len({y for _, _, y in known}) < 2:
        return None
    front = pareto_front([(x, y) for _, x, y in known], (across.sign, up.sign))
    spots = [
        Spot(each.label, each.look, x, y, on) for (each, x, y), on in zip(known, front, strict=True)
    ]
    ways = [Way(material.name_of(o.metric), o.direction == "maximize") for o in (across, up)]
    return pareto_panel(spots, *ways)
