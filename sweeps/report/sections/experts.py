"""Experts: their load over training and at the end, and their specialization."""

from itertools import zip_longest

from ..data import ArmData, ReportData
from ..figures.curves import curve_figure
from ..figures.heatmap import heatmap_figure
from ..figures.load_bars import LayerLoad, load_figure, relative_load
from .learning import curves_by_layer
from .section import Section

_BALANCE = (
    (
        "load_cv",
        "Load CV over training",
        (
            "Standard deviation over mean of the experts' load, by layer: 0 is balance. Counted "
            "over the steps since the last point; band: lowest to highest seed."
        ),
    ),
    (
        "max_violation",
        "Max violation over training",
        (
            "Load of the busiest expert over the mean load, less 1, by layer: 0 is balance, 1 is "
            "twice the mean."
        ),
    ),
)


def load_section(data: ReportData) -> Section | None:
    """Return expert load over training and at the end."""
    figures = [
        curve_figure(
            name,
            title,
            caption,
            curves_by_layer(data.arms, f"train/{name}"),
            data.styles,
            from_zero=True,
        )
        for name, title, caption in _BALANCE
    ]
    final = load_figure(
        [load for each in data.arms for load in _loads(each)],
        data.styles,
        "On the test split, relative to the mean load (dashed), the busiest expert first; bars: "
        "mean over seeds, whiskers: lowest to highest seed. Dense arms have one expert and are "
        "left out.",
    )
    shown = [figure for figure in (*figures, final) if figure is not None]
    return Section("load", "Expert load", shown) if shown else None


def specialization_section(data: ReportData) -> Section | None:
    """Return heatmaps of expert × class, task or gate."""
    figure = heatmap_figure(
        [(each.label, table) for each in data.arms for table in each.tables],
        "Each row is an expert, each column a kind of sample. A row is the distribution of the "
        "expert's work over kinds, so an even row is a generalist and a single dark cell a "
        "specialist. Of many, the busiest experts and largest kinds. First fresh seed: experts "
        "of different seeds do not correspond.",
    )
    return None if figure is None else Section("specialization", figure.title, [figure])


def _loads(each: ArmData) -> list[LayerLoad]:
    by_layer = zip_longest(*(run.get("layers", ()) for run in each.arm.runs))
    return [
        LayerLoad(
            each.label,
            number,
            [relative_load(layer["load"]) for layer in layers if layer and layer["load"]],
        )
        for number, layers in enumerate(by_layer)
    ]
