"""Metrics of a layer against numbers computed by hand."""

import math

import pytest
import torch

from routers import METRICS, ConfigError, Items, LayerMetrics, Routing, average_over_layers
from routers.metrics import RoutingMetric


def routing(expert: list[list[int]], probs: list[list[float]], mask=None) -> Routing:
    chosen = torch.tensor(expert)
    items = Items(torch.zeros(len(expert), 1), mask=mask)
    return Routing.by_item(
        items, chosen, torch.ones(chosen.shape), len(probs[0]), probs=torch.tensor(probs)
    )


def measured(*routings: Routing) -> dict:
    metrics = LayerMetrics(routings[0].num_experts)
    for one in routings:
        metrics.update(one)
    return metrics.compute()


def test_loads_three_and_one():
    found = measured(routing([[0], [0], [0], [1]], [[1.0, 0.0]] * 4))
    assert found["load"] == [3, 1]
    assert found["cv"] == pytest.approx(0.5)  # mean 2, deviation 1
    assert found["max_violation"] == pytest.approx(0.5)  # 3 / 2 - 1
    # -(3/4 log 3/4 + 1/4 log 1/4) / log 2
    assert found["entropy"] == pytest.approx(0.8112781)
    assert found["dead_experts"] == 0


def test_one_expert_does_everything():
    found = measured(routing([[1], [1]], [[0.0, 1.0, 0.0]] * 2))
    assert found["cv"] == pytest.approx(math.sqrt(2))
    assert found["max_violation"] == pytest.approx(2)
    assert found["entropy"] == 0
    assert found["dead_experts"] == 2


def test_dropped_and_unrouted():
    found = measured(routing([[0], [0], [0], [1]], [[0.5, 0.5]] * 4).limit(0.5))
    assert found["load"] == [1, 1]
    assert found["dropped"] == pytest.approx(0.5)
    assert found["unrouted"] == pytest.approx(0.5)


def test_gate_entropy_and_margin():
    found = measured(routing([[0, 1]], [[0.7, 0.2, 0.1]]))
    assert found["margin"] == pytest.approx(0.1)  # .2 is in, .1 is not
    by_hand = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)) / math.log(3)
    assert found["gate_entropy"] == pytest.approx(by_hand, rel=1e-6)


def test_margin_needs_a_chosen_and_a_free_expert():
    assert measured(routing([[0, 1]], [[0.6, 0.4]]))["margin"] is None


def test_batches_add_up():
    one, two = routing([[0]], [[0.5, 0.5]]), routing([[1], [1], [1]], [[1.0, 0.0]] * 3)
    found = measured(one, two)
    assert found["load"] == [1, 3]
    assert found["gate_entropy"] == pytest.approx(0.25)  # 1 and three times 0


def test_padding_never_counts():
    mask = torch.tensor([True, False, True])
    padded = routing([[0], [0], [1]], [[0.6, 0.4], [1.0, 0.0], [0.2, 0.8]], mask)
    plain = routing([[0], [1]], [[0.6, 0.4], [0.2, 0.8]])
    assert measured(padded) == measured(plain)


def test_nothing_measured_yet():
    with pytest.warns(UserWarning, match="before the ``update``"):
        found = LayerMetrics(4).compute()
    assert (found["cv"], found["max_violation"], found["dropped"], found["unrouted"]) == (
        0,
        0,
        0,
        0,
    )
    assert found["entropy"] == 1


def test_reset_forgets():
    metrics = LayerMetrics(2)
    metrics.update(routing([[0]], [[1.0, 0.0]]))
    metrics.reset()
    metrics.update(routing([[1]], [[1.0, 0.0]]))
    assert metrics.compute()["load"] == [0, 1]


def test_counts_are_exact_beyond_float32():
    metrics = LayerMetrics(2)
    metrics.update(routing([[0], [1]], [[1.0, 0.0]] * 2))
    for metric in metrics.values(copy_state=False):
        if "load" in metric.metric_state:
            metric.load += 2**24 - 1
            break
    metrics.update(routing([[0]], [[1.0, 0.0]]))
    assert metrics.compute()["load"] == [2**24 + 1, 2**24]


def test_average_over_layers():
    one = measured(routing([[0], [0]], [[0.5, 0.5]] * 2))
    two = measured(routing([[0], [1]], [[0.5, 0.5]] * 2))
    found = average_over_layers([one, two])
    assert found["cv"] == pytest.approx(0.5)  # 1 and 0
    assert found["dead_experts"] == 1
    assert "load" not in found


def test_average_leaves_out_what_is_missing():
    one = measured(routing([[0, 1]], [[0.6, 0.4]]))
    two = measured(routing([[0]], [[0.75, 0.25]]))
    assert average_over_layers([one, two])["margin"] == pytest.approx(0.5)
    assert average_over_layers([one])["margin"] is None


def test_values_between_batches_are_not_cached():
    metrics = LayerMetrics(2)
    for batches in (1, 2, 3):
        metrics.update(routing([[0], [1]], [[1.0, 0.0]] * 2))
        found = metrics.compute()
        assert found["items"] == 2 * batches
        assert found["load"] == [batches, batches]


def test_a_metric_that_others_registered_joins_the_collection(monkeypatch):
    monkeypatch.setattr(METRICS, "_parts", dict(METRICS._parts))

    @METRICS.register("assignments")
    class Assignments(RoutingMetric):
        """Number of assignments, summed over layers."""

        over_layers = staticmethod(sum)

        def __init__(self, num_experts: int) -> None:
            super().__init__(num_experts)
            self.add_counts("total")

        def update(self, routing: Routing) -> None:
            self.total += routing.num_assignments

        def compute(self) -> int:
            return int(self.total)

    found = measured(routing([[0, 1]], [[0.7, 0.2, 0.1]]), routing([[0, 1]], [[0.7, 0.2, 0.1]]))
    assert found["assignments"] == 4
    assert found["load"] == [2, 2, 0]
    assert average_over_layers([found, found])["assignments"] == 8


def test_a_metric_has_to_be_one():
    with pytest.raises(ConfigError, match="not a subclass of"):
        METRICS.register("nothing")(dict)
