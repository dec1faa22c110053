"""Measures of a table of routes: of each layer, and against another table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from routers import ConfigError, comparison

from .collection import ID
from .table import LayerRoutes, RouteTable

#: Most experts of a layer whose pairs are listed.
MAX_LISTED = 64

#: Most different values of a column by which specialization is measured.
MAX_KINDS = 1024


def measures_of(
    table: RouteTable, sensitivity: Mapping[str, Mapping[str, float]] = {}
) -> list[dict[str, Any]]:
    """The measures of each layer: names and plain values.

    ``sensitivity`` has that of each layer by name, then by the scale of the noise.
    """
    return [_measure(layer, sensitivity.get(layer.name, {})) for layer in table.layers]


def _measure(layer: LayerRoutes, sensitivity: Mapping[str, float]) -> dict[str, Any]:
    routes, chosen = layer.routes, layer.routes.chosen
    return {
        "name": layer.name,
        "router": layer.router,
        "num_experts": layer.num_experts,
        "num_gates": layer.num_gates,
        "items": len(layer),
        "dropped": routes.dropped,
        "unrouted": routes.unrouted,
        "load": routes.assigned.sum(0).astype(int).tolist(),
        "coactivation": comparison.pairing(chosen),
        "coactivation_pairs": _pairs(layer),
        "specialization": {
            column: asdict(comparison.specialization(chosen, values, samples=samples))
            for column, values, samples in _columns(layer)
        },
        "sensitivity": dict(sensitivity),
    }


def _pairs(layer: LayerRoutes) -> list[list[float]] | None:
    """Co-activation of all pairs; None if there are too many."""
    if layer.num_experts > MAX_LISTED:
        return None
    pairs: list[list[float]] = comparison.coactivation(layer.routes.chosen).tolist()
    return pairs


def _columns(layer: LayerRoutes) -> list[tuple[str, Any, Any]]:
    """Columns to measure specialization by: name, values, and samples where these share values.

    Left out are ids, whose number grows with the data, columns of a single value, and the position
    where another column is the same.
    """
    candidates: dict[str, Any] = dict(layer.identity)
    if not any(np.array_equal(values, layer.position) for values in candidates.values()):
        candidates["position"] = layer.position
    found = []
    for name, values in candidates.items():
        kinds = len(np.unique(values))
        if name != ID and 1 < kinds <= MAX_KINDS:
            found.append((name, values, layer.sample if _by_sample(layer, values) else None))
    return found


def _by_sample(layer: LayerRoutes, values: Any) -> bool:
    """Whether all items of a sample have one value."""
    _, first, unit = np.unique(layer.sample, return_index=True, return_inverse=True)
    return bool((values[first][unit] == values).all())


def compare(one: RouteTable, other: RouteTable) -> list[dict[str, Any]]:
    """Disagreement, matched experts and their overlap for each layer and that of another table.

    Layers are compared in their order. ``churn`` is the share of an item's experts that differ
    without matching: for two checkpoints of one run.

    Raises:
        ConfigError: if the tables differ in their number of layers or in their items.
    """
    if len(one.layers) != len(other.layers):
        raise ConfigError(
            f"{len(one.layers)} routed layers cannot be compared with {len(other.layers)}: give "
            "a run with equally many"
        )
    return [_compare(*pair) for pair in zip(one.layers, other.layers, strict=True)]


def _compare(layer: LayerRoutes, other: LayerRoutes) -> dict[str, Any]:
    layer.check_same_items(other)
    left, right = layer.routes.chosen, other.routes.chosen
    found = asdict(comparison.disagreement(left, right))
    match: Sequence[int] = found.pop("match")
    shared = comparison.overlap(left, right)
    return {
        "layer": other.name,
        "churn": comparison.churn(left, right),
        **found,
        "match": list(match),
        "overlap": [float(shared[i, j]) if j >= 0 else 0.0 for i, j in enumerate(match)],
    }
