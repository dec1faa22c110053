"""Capacity: rounding, who is dropped, what the rest weighs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from routers import DROP_ORDERS, ConfigError, Items, Routing


def by_item(expert: list[list[int]], weight: list[list[float]], e: int, groups: int = 1) -> Routing:
    items = Items(torch.zeros(len(expert), 1), groups=groups)
    return Routing.by_item(items, torch.tensor(expert), torch.tensor(weight), e)


def pairs(routing: Routing) -> set[tuple[int, int]]:
    return set(zip(routing.item.tolist(), routing.expert.tolist(), strict=True))


def test_capacity_is_rounded_up():
    # 1.25 * 2 * 10 / 4 = 6.25
    routing = by_item([[0, 1]] * 10, [[0.5, 0.5]] * 10, 4).limit(1.25)
    assert routing.load.tolist() == [7, 7, 0, 0]
    assert routing.demand.tolist() == [10, 10, 0, 0]


def test_rounding_is_not_fooled_by_binary_fractions():
    assert math.ceil(1.1 * 100 / 10) == 12  # 1.1 is a little above itself
    assert by_item([[0]] * 100, [[1.0]] * 100, 10).limit(1.1).load[0] == 11


# first choices: item 0 -> 0, item 1 -> 1, item 2 -> 0; six assignments, three experts,
# factor .5: one place each
THREE = ([[0, 1], [1, 0], [0, 2]], [[0.5, 0.45], [0.4, 0.1], [0.6, 0.2]], 3)


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        ("position", {(0, 0), (0, 1), (2, 2)}),
        ("choice", {(0, 0), (1, 1), (2, 2)}),
        ("probability", {(2, 0), (0, 1), (2, 2)}),
        ("batch_priority", {(2, 0), (1, 1), (2, 2)}),
    ],
)
def test_who_stays(order, kept):
    assert pairs(by_item(*THREE).limit(0.5, order)) == kept


def test_random_order_is_fair():
    routing = by_item([[0], [0]], [[1.0], [1.0]], 2)
    generator = torch.Generator().manual_seed(0)
    kept = [routing.limit(1.0, "random", generator=generator).item.item() for _ in range(300)]
    assert 115 < sum(kept) < 185  # 150 and four standard deviations of 8.7


def test_random_order_repeats_itself_unless_told_what_to_draw_from():
    routing = by_item([[0]] * 50, [[torch.nan]] * 50, 2)  # whatever the weights are
    assert pairs(routing.limit(1.0, "random")) == pairs(routing.limit(1.0, "random"))


def test_importance_is_what_the_gate_gave_before_drops():
    routing = by_item([[0]] * 7 + [[1]], [[1.0]] * 8, 2)
    dropped = routing.limit(1.0).limit(0.5)
    assert dropped.load.tolist() == [2, 1]
    assert dropped.importance.tolist() == [7.0, 1.0]
    assert torch.equal(dropped.probs, routing.probs)


def test_position_never_looks_ahead():
    routing = by_item([[0]] * 6, [[0.1], [0.2], [0.3], [0.4], [0.5], [0.6]], 2)
    assert routing.limit(1.0, "position").item.tolist() == [0, 1, 2]


def test_each_group_has_its_own_capacity():
    routing = by_item([[0]] * 4 + [[1]] * 4, [[1.0]] * 8, 2, groups=2)
    assert routing.limit(1.0).item.tolist() == [0, 1, 4, 5]


def test_capacity_counts_real_items():
    mask = torch.tensor([True, True, False, False, False, False])
    items = Items(torch.zeros(6, 1), mask=mask)
    routing = Routing.by_item(items, torch.zeros(6, 1, dtype=torch.long), torch.ones(6, 1), 2)
    assert routing.limit(1.0).load.tolist() == [1, 0]  # ceil(2 / 2), not ceil(6 / 2)


def test_weights_of_the_rest_stay_unless_renormalized():
    routing = by_item([[0, 1], [0, 1]], [[0.75, 0.25], [0.6, 0.4]], 2)
    keep = torch.tensor([True, True, False, True])
    torch.testing.assert_close(routing.drop(keep).weight, torch.tensor([0.75, 0.25, 0.4]))
    renormalized = routing.drop(keep, renormalize=True)
    torch.testing.assert_close(renormalized.weight, torch.tensor([0.75, 0.25, 1.0]))


def test_a_limit_can_renormalize():
    # ceil(4 / 4) = 1 place each: item 1 loses expert 0 and keeps expert 1
    routing = by_item([[0, 2], [0, 1]], [[0.75, 0.25], [0.6, 0.4]], 4)
    assert routing.limit(1.0, renormalize=True).weight.tolist() == [0.75, 0.25, 1.0]


def test_renormalizing_restores_sums_that_are_not_one():
    routing = by_item([[0, 1]], [[0.3, 0.1]], 2)
    kept = routing.drop(torch.tensor([True, False]), renormalize=True)
    torch.testing.assert_close(kept.weight, torch.tensor([0.4]))


def test_renormalizing_works_per_task():
    routing = Routing.by_item(
        Items(torch.zeros(1, 1)),
        torch.tensor([[0, 1]]),
        torch.tensor([[[0.5, 0.2], [0.5, 0.8]]]),
        2,
    )
    kept = routing.drop(torch.tensor([True, False]), renormalize=True)
    torch.testing.assert_close(kept.weight, torch.tensor([[1.0, 1.0]]))


def test_dropping_twice_remembers_the_first_demand():
    routing = by_item([[0]] * 8, [[1.0]] * 8, 2)
    assert routing.limit(1.0).limit(0.5).demand.tolist() == [8, 0]


@settings(deadline=None, max_examples=30)
@given(
    order=st.sampled_from(sorted(DROP_ORDERS)),
    factor=st.floats(0.1, 2.0),
    seed=st.integers(0, 10_000),
    groups=st.sampled_from([1, 2, 3]),
)
def test_kept_are_the_first_by_the_orders_own_keys(order, factor, seed, groups):
    torch.manual_seed(seed)
    n, e, k = 4 * groups, 5, 2
    expert = torch.rand(n, e).topk(k).indices
    routing = by_item(expert.tolist(), torch.rand(n, k).tolist(), e, groups)
    kept = pairs(routing.limit(factor, order))
    keys = [
        tuple(key.tolist()) for key in DROP_ORDERS[order](routing, torch.Generator().manual_seed(0))
    ]
    capacity = math.ceil(factor * k * 4 / e - 1e-9)
    for group in range(groups):
        for chosen in range(e):
            here = [
                a
                for a in range(n * k)
                if routing.item[a] // 4 == group and routing.expert[a] == chosen
            ]
            here.sort(key=lambda a: (*(key[a] for key in reversed(keys)), a))
            stay = {(int(routing.item[a]), chosen) for a in here[:capacity]}
            assert {(i, c) for i, c in kept if i // 4 == group and c == chosen} == stay


@pytest.mark.parametrize("order", sorted(DROP_ORDERS))
def test_nothing_to_drop_from(order):
    none = torch.zeros(0, 2)
    routing = Routing.by_item(Items(torch.zeros(0, 1)), none.long(), none, 3)
    assert routing.limit(1.0, order, renormalize=True).load.tolist() == [0, 0, 0]


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_impossible_capacity(factor):
    with pytest.raises(ConfigError, match=r"capacity=.*above 0"):
        by_item([[0]], [[1.0]], 2).limit(factor)


def test_unknown_order():
    with pytest.raises(ConfigError, match=r"drop=postion: unknown; did you mean 'position'"):
        by_item([[0]], [[1.0]], 2).limit(1.0, "postion")
