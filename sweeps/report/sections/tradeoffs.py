"""Trade-offs: the arms that no other arm beats on two objectives at once."""

from itertools import combinations
from math import isnan

from ...config.objectives import Objective
from ...statistics.pareto import pareto_front
from ..data import ReportData
from ..figures.pareto import ParetoPoint, pareto_panel
from ..figures.render import Figure, Panel
from .section import Section

#: Shown whether or not they are objectives.
_ALWAYS = (
    Objective("compute.flops_per_item", "minimize"),
    Objective("load.max_violation", "minimize"),
)
#: Shown against the first objective only.
_SPEED = (
    Objective("compute.train_seconds", "minimize"),
    Objective("compute.items_per_second", "maximize"),
)
_MAX_PANELS = 8


def tradeoff_section(data: ReportData) -> Section | None:
    """Return score against FLOPs, imbalance, seconds and samples per second, then other pairs."""
    objectives = list(data.sweep.objectives)
    metrics = {each.metric for each in objectives}
    main, *others = [*objectives, *(each for each in _ALWAYS if each.metric not in metrics)]
    speed = [each for each in _SPEED if each.metric not in metrics]
    pairs = [*((main, other) for other in (*others, *speed)), *combinations(others, 2)]
    made = [_panel(data, across, up) for up, across in pairs]
    panels = [panel for panel in made if panel is not None][:_MAX_PANELS]
    if not panels:
        return None
    caption = (
        "Means over fresh seeds. Filled: no other arm is at least as good in both and better in "
        "one; the dashed line bounds the area that these arms dominate. Hollow and grey: dominated."
    )
    figure = Figure("pareto", "Trade-offs", caption, panels, columns=2)
    note = (
        "Fronts are computed from means and ignore their intervals: arms that the leaderboard "
        "does not distinguish may change sides with other seeds. Times are those of the machine "
        "and of what else it did."
    )
    return Section("tradeoffs", figure.title, [figure], [note])


def _panel(data: ReportData, across: Objective, up: Objective) -> Panel | None:
    """Return a plane with all arms that have both numbers; None where they are all equal."""
    ranked = [each for each in data.arms if each.standing.rank is not None]
    means = [(each, each.arm.mean(across.metric), each.arm.mean(up.metric)) for each in ranked]
    known = [(each, x, y) for each, x, y in means if not (isnan(x) or isnan(y))]
    if len({x for _, x, _ in known}) < 2 and len({y for _, _, y in known}) < 2:
        return None
    front = pareto_front([(x, y) for _, x, y in known], (across.sign, up.sign))
    points = [
        ParetoPoint(each.label, each.style, x, y, on)
        for (each, x, y), on in zip(known, front, strict=True)
    ]
    return pareto_panel(points, data.named(across), data.named(up))
