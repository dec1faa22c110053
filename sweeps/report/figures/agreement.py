"""Agreement of arms: how often two of them route the same items to the same experts."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np

from routers import ConfigError, comparison
from tasks import RouteTable, recorded_steps

from ..data import ArmData
from .heatmaps import HeatMap, heat_map_panels
from .render import Figure

#: Of the items, for the agreement by chance; fewer than a comparison of two runs takes.
_PERMUTATIONS = 5


def agreement_figure(arms: Sequence[ArmData], caption: str) -> Figure | None:
    """Return a matrix of arms by the routes that their runs kept; None without two such runs.

    A cell is the mean over layers and over pairs of runs of equal seeds; on the diagonal over
    pairs of an arm's own runs.
    """
    tables = {arm.label: [_last_table(folder) for folder in arm.arm.folders] for arm in arms}
    names = [name for name, found in tables.items() if any(found)]
    values = np.full((len(names), len(names)), np.nan)
    for i, one in enumerate(names):
        values[i, i] = _mean(combinations(tables[one], 2))
        for j, other in enumerate(names[:i]):
            values[i, j] = values[j, i] = _mean(zip(tables[one], tables[other], strict=False))
    if np.isnan(values).all():
        return None
    pairs = [
        f"{one} and {other} {values[i, j]:.2f}"
        for (i, one), (j, other) in combinations(enumerate(names), 2)
        if values[i, j] >= 0
    ]
    shown = HeatMap(
        title="Agreement of routes",
        alt=f"Agreement of arms: {', '.join(pairs) or 'no pair'}",
        values=values.clip(min=0.0),
        rows=names,
        columns=names,
        down="",
        across="arm",
    )
    panels = heat_map_panels([shown], "Agreement, 0 by chance", "{:.2f}".format)
    return Figure("agreement", "Which arms route alike", caption, panels)


def _last_table(folder: Path) -> RouteTable | None:
    """The routes at the end of a training; None if it kept none or they cannot be read."""
    paths = recorded_steps(folder)
    try:
        return RouteTable.read(paths[-1]) if paths else None
    except ConfigError:  # damaged, or without the extra that reads it
        return None


def _mean(pairs: Iterable[tuple[RouteTable | None, RouteTable | None]]) -> float:
    """Mean agreement of pairs of tables; NaN if no pair has the same items in as many layers."""
    found = [each for one, other in pairs if one and other for each in _agreement(one, other)]
    return fmean(found) if found else np.nan


def _agreement(one: RouteTable, other: RouteTable) -> list[float]:
    if len(one.layers) != len(other.layers):
        return []
    try:
        for layer, its in zip(one.layers, other.layers, strict=True):
            layer.check_same_items(its)
    except ConfigError:
        return []
    return [
        comparison.disagreement(
            layer.routes.chosen, its.routes.chosen, permutations=_PERMUTATIONS
        ).agreement
        for layer, its in zip(one.layers, other.layers, strict=True)
    ]
