"""Figures of a suite: performance profiles and trade-offs over benchmarks."""

import numpy as np

from ...config.objectives import Objective
from ...results.formatting import listed
from ...results.suite_costs import Cost
from ...statistics import pareto_front, performance_profile
from ..figures.axes import Scale, linear
from ..figures.curves import ArmCurves, curve_figure
from ..figures.pareto import ParetoPoint, pareto_panel
from ..figures.render import Figure, Panel
from ..logs import Curve
from .data import SuiteData

#: Thresholds of a profile.
_POINTS = 61
#: Costs that normalized scores are shown against.
_ACROSS = ("load.max_violation", "compute.flops_per_item", "compute.train_seconds")


def profile_figure(data: SuiteData) -> Figure | None:
    """Return the share of runs above each threshold, a panel for each arm."""
    normalized = data.comparison.normalized
    values = [
        value
        for arms in normalized.scores.values()
        for runs in arms.values()
        for value in runs.values()
    ]
    if not values:
        return None
    # one poor run of many would press all others into a corner
    low, high = max(min(values), -0.5), min(max(values), 1.5)
    thresholds = np.linspace(low, high, _POINTS).tolist()
    profiles = performance_profile(normalized, thresholds)
    curves: list[ArmCurves] = []
    for arm in data.arms:
        if arm.label in profiles:
            found = profiles[arm.label]
            band = ([each.low for each in found.band], [each.high for each in found.band])
            curves.append((arm, [Curve("", thresholds, list(found.share), *band)]))
    caption = (
        "Share of runs whose normalized score is above a threshold, each benchmark with the same "
        "weight; band: 95% bootstrap interval at each threshold. Grey: the other arms. A curve "
        "above another everywhere is of the better arm."
    )
    return curve_figure(
        "profiles",
        "Performance profiles",
        caption,
        curves,
        "share of runs",
        layered=False,
        across="normalized score",
        x=Scale(low, high),
    )


def tradeoff_figure(data: SuiteData) -> Figure | None:
    """Return mean normalized scores against costs over benchmarks."""
    costs = {cost.metric.metric: cost for cost in data.costs}
    made = [_panel(data, costs[name]) for name in _ACROSS if name in costs]
    panels = [panel for panel in made if panel is not None]
    references = dict.fromkeys(cost.reference for cost in data.costs if cost.reference)
    relative = f" Relative costs are ratios to {listed([*references])}." if references else ""
    caption = (
        f"Means over benchmarks.{relative} Filled: no other arm is at least as good in both and "
        "better in one; the dashed line bounds the area that these arms dominate. Hollow and grey: "
        "dominated. Arms without a routed layer have no load, those with a gap no mean."
    )
    return Figure("pareto", "Trade-offs", caption, panels, columns=2) if panels else None


def _panel(data: SuiteData, cost: Cost) -> Panel | None:
    """Return a plane of the arms with both numbers over all benchmarks; None for fewer than 2."""
    known = [
        (arm, own.value, data.comparison.means[arm.label])
        for arm in data.arms
        if arm.label in data.comparison.means
        if (own := cost.arms.get(arm.label)) is not None and own.complete
    ]
    if len({x for _, x, _ in known}) < 2:
        return None
    title = f"relative {cost.metric.title}" if cost.reference else cost.metric.title
    across, up = Objective(title, "minimize"), Objective("normalized score", "maximize")
    front = pareto_front([(x, y) for _, x, y in known], (across.sign, up.sign))
    points = [
        ParetoPoint(arm.label, arm.style, x, y, on)
        for (arm, x, y), on in zip(known, front, strict=True)
    ]
    return pareto_panel(points, across, up, up_scale=linear)
