"""The part on experts: who works how much, and on what."""

from .heat import heat_figure
from .html import join
from .learning import balance_figures
from .load_bars import Loads, load_figure, relative_load
from .material import Entrant, Material
from .section import Section, figure_html


def load_section(material: Material) -> Section | None:
    """Expert load over training and at the end."""
    final = load_figure(
        [loads for each in material.entrants for loads in _loads(each)],
        material.looks,
        "On the test split, relative to the mean load (dashed), the busiest expert first; bars: "
        "mean over seeds, whiskers: least to largest seed. Dense arms have one expert and are "
        "left out.",
    )
    figures = [*balance_figures(material), *([final] if final is not None else [])]
    if not figures:
        return None
    body = join(*(figure_html(figure, material.looks) for figure in figures))
    return Section("load", "Expert load", body, figures)


def who_section(material: Material) -> Section | None:
    """Heatmaps of expert × class, task or gate."""
    figure = heat_figure(
        [(each.label, table) for each in material.entrants for table in each.tables],
        "Each row is an expert, each column a kind of sample; a row is the share of the "
        "expert's work that comes from each kind, so an even row is a generalist and a single "
        "dark cell a specialist. Of many, the busiest experts and largest kinds. First fresh "
        "seed: experts of different seeds do not correspond.",
    )
    if figure is None:
        return None
    body = figure_html(figure, material.looks, heading=False)
    return Section("who", "Who does what", body, [figure])


def _loads(each: Entrant) -> list[Loads]:
    layers = max((len(run.get("layers", ())) for run in each.arm.runs), default=0)
    return [
        Loads(
            each.label,
            layer,
            [
                relative_load(run["layers"][layer]["load"])
                for run in each.arm.runs
                if len(run.get("layers", ())) > layer and run["layers"][layer]["load"]
            ],
        )
        for layer in range(layers)
    ]
