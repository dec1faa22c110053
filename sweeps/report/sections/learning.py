"""Curves over training: scores, losses, gates and dropped assignments."""

from collections.abc import Sequence

from ..data import ArmData, ReportData
from ..figures.curves import curve_figure
from ..figures.figure import Figure
from ..logs import Curve, curve, layer_curves
from .section import Section

_BAND = "Line: mean over seeds; band: lowest to highest seed. Grey: the other arms."


def learning_section(data: ReportData) -> Section | None:
    """Return learning curves, each with a band over seeds."""
    score = data.sweep.score
    columns = (
        (f"val/{score}", "learning", f"{score} on validation"),
        ("train/loss", "loss", "Training loss"),
    )
    figures = [_score_figure(data, *column) for column in columns]
    shown = [figure for figure in figures if figure is not None]
    return Section("learning", "Learning curves", shown) if shown else None


def gates_section(data: ReportData) -> Section | None:
    """Return gate entropy and dropped assignments over training."""
    entropy = curve_figure(
        "gate_entropy",
        "Gate entropy",
        "Mean entropy of an item's gate, by layer, on validation: 1 weighs all experts alike, 0 "
        "chooses one.",
        curves_by_layer(data.arms, "val/gate_entropy"),
        data.styles,
        from_zero=True,
    )
    dropped = curve_figure(
        "dropped",
        "Dropped assignments",
        "Share of the requested assignments that exceeded the capacity, by layer, on validation. "
        "Arms without dropped assignments are left out.",
        {
            label: curves
            for label, curves in curves_by_layer(data.arms, "val/dropped").items()
            if any(value > 0 for each in curves for value in each.high)
        },
        data.styles,
        from_zero=True,
    )
    figures: list[Figure] = [each for each in (entropy, dropped) if each is not None]
    if not figures:
        return None
    notes = [] if dropped else ["No arm dropped an assignment."]
    return Section("gates", "Gates and drops", figures, notes)


def curves_by_layer(arms: Sequence[ArmData], column: str) -> dict[str, Sequence[Curve]]:
    """Return the curves of each routed arm, one per layer, by label."""
    return {each.label: layer_curves(each.logs, column) for each in arms if each.routed}


def _score_figure(data: ReportData, column: str, name: str, title: str) -> Figure | None:
    found = {each.label: curve(each.logs, column) for each in data.arms}
    curves = {label: [each] for label, each in found.items() if each is not None}
    return curve_figure(name, title, _BAND, curves, data.styles, background=True)
