"""Sections of the training: learning curves, load and specialization of experts, routes, gates."""

from ..data import ReportData
from ..figures.agreement import agreement_figure
from ..figures.curves import ArmCurves, curve_figure
from ..figures.experts import heatmap_figure, load_figure
from ..figures.render import Figure
from ..logs import curve, layer_curves
from .section import Section, section_of


def learning_section(data: ReportData) -> Section | None:
    """Return learning curves, each with a band over seeds."""
    score = data.sweep.score
    caption = "Line: mean over seeds; band: lowest to highest seed. Grey: the other arms."

    def figure(name: str, title: str, column: str, label: str) -> Figure | None:
        found = [(arm, curve(arm.logs, column)) for arm in data.arms]
        curves = [(arm, [each]) for arm, each in found if each is not None]
        return curve_figure(name, title, caption, curves, label, layered=False)

    scores = figure("learning", f"{score} on validation", f"val/{score}", score)
    losses = figure("loss", "Training loss", "train/loss", "loss")
    return section_of("learning", "Learning curves", [scores, losses])


def load_section(data: ReportData) -> Section | None:
    """Return expert load over training and at the end."""
    balance = _layer_figure(
        data,
        "train/load_cv",
        "Load CV over training",
        "load CV",
        "Standard deviation over mean of the experts' load, by layer: 0 is balance. Counted over "
        "the steps since the last point; band: lowest to highest seed.",
    )
    violation = _layer_figure(
        data,
        "train/max_violation",
        "Max violation over training",
        "max violation",
        "Load of the busiest expert over the mean load, less 1, by layer: 0 is balance, 1 is "
        "twice the mean.",
    )
    caption = (
        "On the test split, relative to the mean load, the busiest expert first. Dense arms have "
        "one expert and are left out."
    )
    figures = [balance, violation, load_figure(data.arms, caption)]
    return section_of("load", "Expert load", figures)


def specialization_section(data: ReportData) -> Section | None:
    """Return heatmaps of expert × class, task or gate."""
    figure = heatmap_figure(
        data.arms,
        "Each row is an expert, each column a kind of sample. A row is the distribution of the "
        "expert's work over kinds, so an even row is a generalist and a single dark cell a "
        "specialist. Of many, the busiest experts and largest kinds. First fresh seed: experts "
        "of different seeds do not correspond. NMI, a mean over seeds, is the normalized mutual "
        "information of experts and kinds.",
    )
    return section_of("specialization", "Expert specialization", [figure])


def routes_section(data: ReportData) -> Section | None:
    """Return how the routes that runs kept change over training, and which arms route alike."""
    churn = _layer_figure(
        data,
        "routes/churn",
        "Churn of routes",
        "churn",
        "Mean share of an item's experts that changed since the last table of routes, by layer: 0 "
        "keeps all, 1 replaces all. Always the same validation samples.",
    )
    saturation = _layer_figure(
        data,
        "routes/saturation",
        "Saturation of routes",
        "saturation",
        "Share of an item's experts at the end of training that it has already, by layer.",
    )
    agreement = agreement_figure(
        data.arms,
        "Of the last tables of routes, after experts are matched one to one: 1 for equal routes, "
        "0 for routes that agree by chance alone. Mean over layers and over pairs of runs of one "
        "seed; on the diagonal over pairs of an arm's own runs, which differ in their seeds.",
    )
    return section_of("routes", "Routes", [churn, saturation, agreement])


def gates_section(data: ReportData) -> Section | None:
    """Return gate entropy and dropped assignments over training."""
    entropy = _layer_figure(
        data,
        "val/gate_entropy",
        "Gate entropy",
        "entropy",
        "Mean entropy of an item's gate, by layer, on validation: 1 weighs all experts alike, 0 "
        "chooses one.",
    )
    dropped = _layer_figure(
        data,
        "val/dropped",
        "Dropped assignments",
        "share dropped",
        "Share of the requested assignments that exceeded the capacity, by layer, on validation. "
        "Arms without dropped assignments are left out.",
        only_positive=True,
    )
    notes = [] if dropped else ["No arm dropped an assignment."]
    return section_of("gates", "Gates and drops", [entropy, dropped], notes)


def _layer_figure(
    data: ReportData,
    column: str,
    title: str,
    label: str,
    caption: str,
    *,
    only_positive: bool = False,
) -> Figure | None:
    """Return the curves of each routed arm, one per layer; the column names the files."""
    curves: list[ArmCurves] = []
    for arm in data.arms:
        own = layer_curves(arm.logs, column) if arm.routed else []
        if not only_positive or any(value > 0 for each in own for value in each.high):
            curves.append((arm, own))
    return curve_figure(column.split("/")[1], title, caption, curves, label, layered=True)
