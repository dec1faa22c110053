"""Metrics of expert load and gates: each a torchmetrics ``Metric`` of one layer.

``load_cv``, ``max_violation`` and ``load_entropy`` are functions of a load; the other names load
torchmetrics, which takes longer to import than torch, on first use.
"""

from typing import TYPE_CHECKING, Any

from ._functional import load_cv, load_entropy, max_violation

if TYPE_CHECKING:
    from ._base import METRICS, RoutingMetric
    from ._collection import LayerMetrics, average_over_layers, summary_names

__all__ = [
    "METRICS",
    "LayerMetrics",
    "RoutingMetric",
    "average_over_layers",
    "load_cv",
    "load_entropy",
    "max_violation",
    "summary_names",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..plugins.registry import import_parts
    from . import _base, _collection

    import_parts(__name__, __path__)
    found = {**vars(_base), **vars(_collection)}
    globals().update({each: found[each] for each in __all__ if each in found})
    return globals()[name]
