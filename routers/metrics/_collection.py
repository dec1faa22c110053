"""All metrics of one routed layer, and their summary over layers."""

from collections.abc import Mapping, Sequence

from torchmetrics import Metric, MetricCollection

from ..routing.routing import Routing
from ._base import METRICS, Value

#: Keeps the name of a metric apart from attributes of the collection, such as ``items``.
_PREFIX = "metric/"


class LayerMetrics(MetricCollection):
    """Every registered metric of one routed layer by name.

    Args:
        num_experts: ``E``.

    >>> import torch
    >>> from routers import Items, Routing
    >>> metrics = LayerMetrics(num_experts=2)
    >>> expert, weight = torch.tensor([[0], [0], [1]]), torch.ones(3, 1)
    >>> metrics.update(Routing.by_item(Items(weight), expert, weight, num_experts=2))
    >>> metrics.compute()["load"], round(metrics.compute()["max_violation"], 4)
    ([2, 1], 0.3333)
    """

    def __init__(self, num_experts: int) -> None:
        metrics: dict[str, Metric | MetricCollection] = {
            _PREFIX + name: METRICS.build(name, num_experts) for name in METRICS
        }
        # sums that are equal after a first batch need not stay so: only a shared update groups
        groups: dict[object, list[str]] = {}
        for name, metric in metrics.items():
            groups.setdefault(type(metric).update, []).append(name)
        super().__init__(metrics, compute_groups=list(groups.values()))
        self._first = [metrics[names[0]] for names in groups.values()]

    def update(self, routing: Routing) -> None:  # type: ignore[override]  # ModuleDict has one too
        """Add one routing: to one metric of each group, whose sums ``compute`` shares."""
        self._state_is_copy = False
        for metric in self._first:
            metric.update(routing)

    def compute(self) -> dict[str, Value]:
        """The value of each metric over everything added since the last reset."""
        return {name.removeprefix(_PREFIX): value for name, value in super().compute().items()}


def summary_names() -> list[str]:
    """The names of the metrics that ``average_over_layers`` combines.

    >>> "max_violation" in summary_names(), "load" in summary_names()
    (True, False)
    """
    return [name for name, metric in METRICS.items() if getattr(metric, "over_layers", None)]


def average_over_layers(layers: Sequence[Mapping[str, Value]]) -> dict[str, float | None]:
    """A value for all layers of every metric that has one; None where no layer has a value.

    >>> average_over_layers([{"cv": 1.0, "dead_experts": 1}, {"cv": 0.5, "dead_experts": 2}])
    {'cv': 0.75, 'dead_experts': 3}
    """
    summary: dict[str, float | None] = {}
    for name in layers[0] if layers else ():
        combine = getattr(METRICS[name], "over_layers", None)
        if combine is not None:
            values = [value for layer in layers if (value := layer[name]) is not None]
            summary[name] = combine(values) if values else None
    return summary
