"""The part on training: scores, gates and drops over steps."""

from collections.abc import Sequence

from .curves import curve_figure
from .html import Safe, join, tag
from .marks import Figure
from .material import Entrant, Material
from .metrics import Curve, curve, layer_curves
from .section import Section, figure_html

_BAND = "Line: mean over seeds; band: least to largest seed. Grey: the other arms."

_BALANCE = (
    (
        "load_cv",
        "Load CV over training",
        """Standard deviation over mean of the experts' load, by layer: 0 is balance. Counted over
        the steps since the last point; band: least to largest seed.""",
    ),
    (
        "max_violation",
        "Max violation over training",
        """How far the busiest expert is above the mean load, by layer: 0 is balance, 1 is twice
        the mean.""",
    ),
)


def learning_section(material: Material) -> Section | None:
    """Learning curves, each with a band over seeds."""
    score = material.sweep.score
    figures = [
        _single(material, f"val/{score}", "learning", f"{score} on validation"),
        _single(material, "train/loss", "loss", "Loss in training"),
    ]
    shown = [figure for figure in figures if figure is not None]
    if not shown:
        return None
    body = join(*(figure_html(figure, material.looks) for figure in shown))
    return Section("learning", "Learning curves", body, shown)


def gates_section(material: Material) -> Section | None:
    """How decided gates are, and what capacity drops, both over training."""
    entropy = curve_figure(
        "gate_entropy",
        "Gate entropy",
        "Mean entropy of an item's gate, by layer: 1 is undecided, 0 is one expert. "
        "Measured on validation.",
        _by_layer(_routed(material), "val/gate_entropy"),
        material.looks,
        from_zero=True,
        background=False,
    )
    drops = {
        label: curves
        for label, curves in _by_layer(material.entrants, "val/dropped").items()
        if any(value > 0 for each in curves for value in each.high)
    }
    dropped = curve_figure(
        "dropped",
        "Dropped assignments",
        "Share of the assignments asked for that capacity refused, by layer, on validation. "
        "Arms that dropped nothing are left out.",
        drops,
        material.looks,
        from_zero=True,
        background=False,
    )
    figures: list[Figure] = [each for each in (entropy, dropped) if each is not None]
    if not figures:
        return None
    parts: list[Safe] = [figure_html(each, material.looks) for each in figures]
    if dropped is None:
        parts.append(tag("p", "No arm dropped an assignment.", class_="note"))
    return Section("gates", "Gates and drops", join(*parts), figures)


def balance_figures(material: Material) -> list[Figure]:
    """Imbalance of the load over training, by layer."""
    routed = _routed(material)
    found = [
        curve_figure(
            name,
            title,
            caption,
            _by_layer(routed, f"train/{name}"),
            material.looks,
            from_zero=True,
            background=False,
        )
        for name, title, caption in _BALANCE
    ]
    return [figure for figure in found if figure is not None]


def _single(material: Material, column: str, name: str, title: str) -> Figure | None:
    curves = {each.label: _one(curve(each.logs, column)) for each in material.entrants}
    return curve_figure(name, title, _BAND, curves, material.looks, from_zero=False)


def _one(found: Curve | None) -> list[Curve]:
    return [] if found is None else [found]


def _by_layer(entrants: Sequence[Entrant], column: str) -> dict[str, Sequence[Curve]]:
    return {each.label: layer_curves(each.logs, column) for each in entrants}


def _routed(material: Material) -> list[Entrant]:
    """Arms with more than one expert somewhere; a dense layer has no balance to show."""
    return [
        each
        for each in material.entrants
        if any(len(layer["load"]) > 1 for run in each.arm.runs for layer in run.get("layers", ()))
    ]
