"""The page of a table of routes: measures, and samples in the colours of their experts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..pictures import Picture
from .summary import rows_of
from .table import LayerRoutes, RouteTable

#: Samples that are shown of each layer.
MAX_SAMPLES = 12

#: Most experts and most labels in a table of which expert works on what.
MAX_ROWS, MAX_COLUMNS = 32, 32

#: Most experts of an item that it names.
MAX_NAMED = 4


def render(
    table: RouteTable, measures: Sequence[Mapping[str, Any]], pictures: Sequence[Picture] = ()
) -> str:
    """One HTML file that needs nothing else.

    Args:
        table: of the routes.
        measures: of its layers, as ``measures_of`` returns them.
        pictures: of the first samples.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    most = max((layer.num_experts for layer in table.layers), default=0)
    return environment.get_template("page.html.jinja").render(
        about=table.about,
        rows=rows_of(measures),
        layers=[_shown(layer, table, pictures) for layer in table.layers],
        light=colors(most, 80, 82),
        dark=colors(most, 42, 27),
    )


def colors(number: int, saturation: int, lightness: int) -> list[str]:
    """Colours of experts; neighbours differ most, and every other turn of hues is lighter.

    >>> colors(2, 80, 82)
    ['hsl(0 80% 82%)', 'hsl(138 80% 82%)']
    """
    golden = 137.508  # degrees: hues of any number of experts are spread evenly
    return [f"hsl({i * golden % 360:.0f} {saturation}% {lightness}%)" for i in range(number)]


def _shown(layer: LayerRoutes, table: RouteTable, pictures: Sequence[Picture]) -> dict[str, Any]:
    """Values of a layer for the template."""
    return {
        "name": layer.name or "layer",
        "router": layer.router,
        "load": _load(layer),
        "labels": [
            _shares(layer, column, table.labels[column])
            for column in layer.identity
            if column in table.labels
        ],
        "pictures": [
            picture.html(experts)
            for picture, experts in zip(pictures, experts_of(layer, len(pictures)), strict=True)
        ],
    }


def _load(layer: LayerRoutes) -> list[tuple[int, int, float]]:
    """Expert, rows and share of all rows, for experts up to a number."""
    load = np.asarray(layer.routes.assigned.sum(0)).astype(int)
    total = max(int(load.sum()), 1)
    return [(i, int(rows), rows / total) for i, rows in enumerate(load[:MAX_ROWS])]


def _shares(layer: LayerRoutes, column: str, names: Sequence[str]) -> dict[str, Any]:
    """The share of each label in the rows of each expert."""
    routes = layer.routes.chosen.tocoo()
    expert, item = routes.coords[1], routes.coords[0]
    counts: NDArray[np.int64] = np.zeros((layer.num_experts, len(names)), dtype=np.int64)
    np.add.at(counts, (expert, layer.identity[column][item]), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shown = np.sort(np.argsort(-counts.sum(0), kind="stable")[:MAX_COLUMNS])
    return {
        "column": column,
        "names": [names[i] for i in shown],
        "rows": [(i, shares[i, shown].tolist()) for i in range(min(layer.num_experts, MAX_ROWS))],
    }


def experts_of(layer: LayerRoutes, samples: int) -> list[list[list[int]]]:
    """The experts of each position of the first samples, the heaviest first.

    Positions of padding have none; after the last real one there are no more.
    """
    found: list[list[list[int]]] = [[] for _ in range(samples)]
    routes = layer.routes
    weight = np.where(routes.kept, routes.weights.sum(1), -np.inf)
    for row in np.flatnonzero(layer.sample < samples).tolist():
        start, stop = routes.offsets[row], routes.offsets[row + 1]
        order = start + np.argsort(-weight[start:stop], kind="stable")
        of_sample = found[int(layer.sample[row])]
        of_sample.extend([] for _ in range(int(layer.position[row]) - len(of_sample)))
        of_sample.append(routes.experts[order[routes.kept[order]]].tolist()[:MAX_NAMED])
    return found
