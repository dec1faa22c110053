"""Balance statistics against numbers worked out by hand."""

import math

import pytest
import torch
from routers.metrics.balance import average_balance

from routers import Balance, BalanceMetric, Items, Routing


def routing(expert: list[list[int]], probs: list[list[float]], mask=None) -> Routing:
    chosen = torch.tensor(expert)
    items = Items(torch.zeros(len(expert), 1), mask=mask)
    return Routing.by_item(
        items, chosen, torch.ones(chosen.shape), len(probs[0]), probs=torch.tensor(probs)
    )


def measured(*routings: Routing) -> Balance:
    metric = BalanceMetric(routings[0].num_experts)
    for one in routings:
        metric.update(one)
    return metric.compute()


def test_loads_three_and_one():
    found = measured(routing([[0], [0], [0], [1]], [[1.0, 0.0]] * 4))
    assert found.load == [3, 1]
    assert found.cv == pytest.approx(0.5)  # mean 2, deviation 1
    assert found.max_violation == pytest.approx(0.5)  # 3 / 2 - 1
    # -(3/4 log 3/4 + 1/4 log 1/4) / log 2
    assert found.entropy == pytest.approx(0.8112781)
    assert found.dead_experts == 0


def test_one_expert_does_everything():
    found = measured(routing([[1], [1]], [[0.0, 1.0, 0.0]] * 2))
    assert found.cv == pytest.approx(math.sqrt(2))
    assert found.max_violation == pytest.approx(2)
    assert found.entropy == 0
    assert found.dead_experts == 2


def test_dropped_and_unrouted():
    found = measured(routing([[0], [0], [0], [1]], [[0.5, 0.5]] * 4).limit(0.5))
    assert found.load == [1, 1]
    assert found.dropped == pytest.approx(0.5)
    assert found.unrouted == pytest.approx(0.5)


def test_gate_entropy_and_margin():
    found = measured(routing([[0, 1]], [[0.7, 0.2, 0.1]]))
    assert found.margin == pytest.approx(0.1)  # .2 is in, .1 is not
    by_hand = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)) / math.log(3)
    assert found.gate_entropy == pytest.approx(by_hand, rel=1e-6)


def test_margin_needs_a_chosen_and_a_free_expert():
    assert measured(routing([[0, 1]], [[0.6, 0.4]])).margin is None


def test_batches_add_up():
    one, two = routing([[0]], [[0.5, 0.5]]), routing([[1], [1], [1]], [[1.0, 0.0]] * 3)
    found = measured(one, two)
    assert found.load == [1, 3]
    assert found.gate_entropy == pytest.approx(0.25)  # 1 and three times 0


def test_padding_never_counts():
    mask = torch.tensor([True, False, True])
    padded = routing([[0], [0], [1]], [[0.6, 0.4], [1.0, 0.0], [0.2, 0.8]], mask)
    plain = routing([[0], [1]], [[0.6, 0.4], [0.2, 0.8]])
    assert measured(padded) == measured(plain)


def test_nothing_measured_yet():
    with pytest.warns(UserWarning, match="before the ``update``"):
        found = BalanceMetric(4).compute()
    assert (found.cv, found.max_violation, found.dropped, found.unrouted) == (0, 0, 0, 0)
    assert found.entropy == 1


def test_reset_forgets():
    metric = BalanceMetric(2)
    metric.update(routing([[0]], [[1.0, 0.0]]))
    metric.reset()
    metric.update(routing([[1]], [[1.0, 0.0]]))
    assert metric.compute().load == [0, 1]


def test_counts_are_exact_beyond_float32():
    metric = BalanceMetric(2)
    metric.load += 2**24
    metric.update(routing([[0]], [[1.0, 0.0]]))
    assert metric.compute().load == [2**24 + 1, 2**24]


def test_average_over_layers():
    one = measured(routing([[0], [0]], [[0.5, 0.5]] * 2))
    two = measured(routing([[0], [1]], [[0.5, 0.5]] * 2))
    found = average_balance([one, two])
    assert found["cv"] == pytest.approx(0.5)  # 1 and 0
    assert found["dead_experts"] == 1
    assert "load" not in found


def test_average_leaves_out_what_is_missing():
    one = measured(routing([[0, 1]], [[0.6, 0.4]]))
    two = measured(routing([[0]], [[0.75, 0.25]]))
    assert average_balance([one, two])["margin"] == pytest.approx(0.5)
    assert average_balance([one])["margin"] is None
