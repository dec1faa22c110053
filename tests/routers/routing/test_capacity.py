"""Capacity: rounding, who is dropped, what the rest weighs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import routers
from routers import ConfigError, Items, Routing
from routers.conformance.harness import RouterUnderTest, routes, same, where
from routers.routing import DROP_ORDERS, ROUNDINGS


def by_item(expert: list[list[int]], weight: list[list[float]], e: int, groups: int = 1) -> Routing:
    items = Items(torch.zeros(len(expert), 1), groups=groups)
    return Routing.by_item(items, torch.tensor(expert), torch.tensor(weight), e)


def pairs(routing: Routing) -> set[tuple[int, int]]:
    return set(zip(routing.item.tolist(), routing.expert.tolist(), strict=True))


def test_capacity_is_rounded_up():
    # 1.25 * 2 * 10 / 4 = 6.25
    routing = by_item([[0, 1]] * 10, [[0.5, 0.5]] * 10, 4).limit(1.25)
    assert routing.load.tolist() == [7, 7, 0, 0]
    assert routing.requested_load.tolist() == [10, 10, 0, 0]


def test_rounding_is_not_fooled_by_binary_fractions():
    assert math.ceil(1.1 * 100 / 10) == 12  # 1.1 is a little above itself
    assert by_item([[0]] * 100, [[1.0]] * 100, 10).limit(1.1).load[0] == 11


# items, experts, experts per item, factor; then what each library makes of f K n / E places
PLACES = [
    # 6.25 places, 3.125 per choice, 2.5 to an even share
    (10, 4, 2, 1.25, {"ceil": 7, "floor": 6, "nearest": 6, "ceil_per_choice": 8}),
    (10, 4, 2, 1.25, {"floor_of_even": 6, "ceil_to_4": 8, "ceil_from_4": 7}),
    # 1.5 places, halves to even
    (6, 4, 1, 1.0, {"ceil": 2, "floor": 1, "nearest": 2, "ceil_from_4": 4, "ceil_to_4": 4}),
    # half a place: never less than one
    (2, 4, 1, 1.0, {"ceil": 1, "floor": 1, "nearest": 1, "floor_of_even": 1}),
    # 100 * .29 is a little below 29 in binary, 110 / 10 * 1.1 a little above 12.1
    (100, 1, 1, 0.29, {"floor": 29, "ceil": 29}),
    (11, 1, 1, 1.0, {"ceil": 11, "floor": 11, "nearest": 11, "ceil_to_4": 12}),
    # 3.9 places whatever the number of items, and no more than there are
    (9, 4, 2, 3.9, {"absolute": 3}),
    (2, 4, 1, 3.9, {"absolute": 3}),
    # an even share of ceil(9 / 4) = 3, times 1.5, rounded down, for each of three choices
    (9, 4, 3, 1.5, {"floor_of_even": 12, "ceil": 11, "ceil_per_choice": 12}),
]


@pytest.mark.parametrize(("n", "e", "k", "factor", "expected"), PLACES)
def test_roundings_of_real_libraries(n, e, k, factor, expected):
    # all items want the same experts, as often as there are of those, so the load is the capacity
    items = Items(torch.zeros(n, 1))
    crowded = Routing.by_item(items, torch.arange(k).expand(n, k), torch.ones(n, k), e)
    for rounding, most in expected.items():
        load = crowded.limit(factor, rounding=rounding).load[:k].tolist()
        assert load == [min(most, n)] * k, rounding


def test_every_rounding_is_tried():
    assert {name for *_, expected in PLACES for name in expected} == set(ROUNDINGS)


def test_every_drop_order_says_where_it_is_from():
    for named in (*ROUNDINGS.values(), *DROP_ORDERS.values()):
        assert named.__doc__


def test_unknown_rounding():
    with pytest.raises(ConfigError, match=r"rounding=flor: unknown; did you mean 'floor'"):
        by_item([[0]], [[1.0]], 2).limit(1.0, rounding="flor")


# ---- experts per item ----


def varying(asked: list[list[int]], e: int, **extra: object) -> Routing:
    """Each item has the experts listed for it; the number is not known beforehand."""
    keep = torch.zeros(len(asked), e, dtype=torch.bool)
    for i, chosen in enumerate(asked):
        keep[i, chosen] = True
    return Routing.by_mask(Items(torch.zeros(len(asked), 1)), keep.float(), keep=keep, **extra)


def test_a_budget_says_how_many_places_there_are():
    # a place for each two items though three assignments are asked for: 1.0 * 1 * 4 / 2
    routing = varying([[0, 1], [0], [0, 1], [0, 1]], 2, experts_per_item=1.0)
    for order in DROP_ORDERS:
        assert routing.limit(1.0, order).load.tolist() == [2, 2]


def test_without_a_budget_the_mean_of_the_group_counts():
    routing = varying([[0, 1], [0], [0], [0]], 2)
    # 5 / 4 experts per item, 4 items, 2 experts: ceil(2.5)
    assert routing.limit(1.0, "probability").load.tolist() == [3, 1]


def test_by_position_the_mean_so_far_counts():
    # means 1, 1, 4 / 3, 6 / 4 and so places 2, 2, 3, 3 of expert 0, of which 4 are asked for
    routing = varying([[0], [0], [0, 1], [0, 1]], 2)
    assert pairs(routing.limit(1.0)) == {(0, 0), (1, 0), (2, 0), (2, 1), (3, 1)}


def test_padding_is_no_item_of_the_mean():
    mask = torch.tensor([True, False, False, True])
    keep = torch.tensor([[True, False]] * 4)
    routing = Routing.by_mask(Items(torch.zeros(4, 1), mask=mask), keep.float(), keep=keep)
    assert routing.limit(1.0).item.tolist() == [0]  # one expert per item, ceil(2 / 2) places


def test_layouts_know_their_budget():
    items, ones = Items(torch.zeros(4, 1)), torch.ones(4, 3)
    expert = torch.arange(3).expand(4, 3)
    some = ones > 0
    assert Routing.by_item(items, expert, ones, 5).experts_per_item == 3
    assert Routing.by_item(items, expert, ones, 5, keep=some).experts_per_item is None
    assert (
        Routing.by_item(items, expert, ones, 5, keep=some, experts_per_item=2.0).experts_per_item
        == 2
    )
    assert Routing.by_mask(items, ones).experts_per_item == 3
    assert Routing.by_mask(items, ones, keep=some).experts_per_item is None


def promised(trait: str) -> list[str]:
    return [name for name in routers.available() if getattr(routers.ROUTERS[name].traits, trait)]


@pytest.mark.parametrize("rounding", ["ceil", "floor_of_even"])
@pytest.mark.parametrize("name", promised("causal"))
def test_capacity_by_position_keeps_routers_causal(name, rounding):
    """Whatever later items ask for, the same earlier ones are dropped."""
    subject = RouterUnderTest(lambda dim, e: routers.build(name, dim, e), 9, 16)
    items = subject.items(12, 3)
    for cut in (1, 4, 9):
        earlier = torch.arange(len(items)) % 12 < cut
        other = where(earlier, items, subject.items(12, 3, seed=99))
        for route in (subject.in_training, subject.in_eval):
            kept = [routes(route(i).limit(0.5, rounding=rounding))[earlier] for i in (items, other)]
            assert same(*kept), f"what comes from place {cut} on changes who was dropped before"


class HalfLooks(routers.Router):
    """As many experts as an item's first feature says: causal, with a varying number."""

    def forward(self, items):
        more = items.x[:, :1] > 0
        keep = more | (torch.arange(self.num_experts) < 1)
        return Routing.by_mask(items, keep.to(items.x.dtype), keep=keep)


def test_a_varying_number_of_experts_is_causal_too():
    """The mean over the whole group would reveal later requests to earlier items."""
    subject = RouterUnderTest(HalfLooks, 9, 4)
    items = subject.items(12)
    quiet = where(torch.arange(12) < 6, items, subject.items(12, seed=5))
    routing, other = (subject.in_eval(i) for i in (items, quiet))
    assert routing.num_assignments != other.num_assignments
    assert same(routes(routing.limit(0.5))[:6], routes(other.limit(0.5))[:6])


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
    assert routing.limit(1.0).limit(0.5).requested_load.tolist() == [8, 0]


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
