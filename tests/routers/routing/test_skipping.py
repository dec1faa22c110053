"""Assignments with little weight are left out: equal to a loop over items."""

import pytest
import torch

from routers import ConfigError, Items, Routing
from routers.routing import check_skip

N, E = 17, 6
RULES = [{"weight": 0.4}, {"mass": 0.7}, {"weight": 0.3, "mass": 0.8}, {"weight": 1.0}]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def kept_by_loop(routing: Routing, rules: dict[str, float]) -> list[bool]:
    """Whether each assignment stays: item by item, task by task, one weight after the other."""
    weights = [[w] if isinstance(w, float) else w for w in routing.weight.tolist()]
    kept = [False] * routing.num_assignments
    for item in range(routing.num_items):
        own = [a for a, of in enumerate(routing.item.tolist()) if of == item]
        by_rule = []
        for name, share in rules.items():
            stay = set()
            for task in range(len(weights[0]) if own else 0):
                sizes = {a: abs(weights[a][task]) for a in own}
                if name == "weight":
                    stay |= {a for a in own if sizes[a] >= share * max(sizes.values())}
                else:
                    total, so_far = sum(sizes.values()), 0.0
                    for a in sorted(own, key=lambda a: -sizes[a]):
                        if so_far >= share * total:
                            break
                        stay.add(a)
                        so_far += sizes[a]
            by_rule.append(stay)
        for a in set.intersection(*by_rule):
            kept[a] = True
    return kept


def layouts() -> dict[str, Routing]:
    """A routing of each layout, of single items and several tasks, with padding and gaps."""
    mask = random(N, seed=1) > -0.8
    items, padded = Items(torch.zeros(N, 1)), Items(torch.zeros(N, 1), mask=mask)
    chosen = random(N, E, seed=2).topk(4).indices
    taken = random(E, N, seed=3).topk(9).indices
    gaps = random(N, 4, seed=4) > -0.3
    return {
        "by item": Routing.by_item(items, chosen, random(N, 4).softmax(1), E),
        "by item, of either sign": Routing.by_item(items, chosen, random(N, 4), E),
        "by item, padded": Routing.by_item(padded, chosen, random(N, 4).softmax(1), E),
        "by item, with gaps": Routing.by_item(items, chosen, random(N, 4).exp(), E, keep=gaps),
        "by item, of tasks": Routing.by_item(items, chosen, random(N, 4, 3).softmax(1), E),
        "by expert": Routing.by_expert(items, taken, random(E, 9).softmax(1)),
        "by expert, of tasks": Routing.by_expert(padded, taken, random(E, 9, 2).exp()),
        "by mask, all": Routing.by_mask(items, random(N, E).softmax(1)),
        "by mask": Routing.by_mask(padded, random(N, E).exp(), random(N, E, seed=5) > 0),
        "after drops": Routing.by_mask(items, random(N, E).softmax(1)).limit(0.5),
        "none": Routing.by_mask(items, random(N, E), torch.zeros(N, E).bool()),
    }


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("layout", layouts())
def test_it_keeps_what_a_loop_over_items_keeps(layout, rules):
    routing = layouts()[layout]
    keep = torch.tensor(kept_by_loop(routing, rules), dtype=torch.bool)
    found, wanted = routing.skip(rules), routing.drop(keep)
    for name in ("item", "expert", "weight", "load", "requested_load"):
        assert getattr(found, name).equal(getattr(wanted, name)), name
    if layout != "none":
        assert 0 < keep.sum() < len(keep)


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"weight": 0.5}, [0, 1, 2]),
        ({"weight": 0.51}, [0]),
        ({"mass": 0.5}, [0]),
        ({"mass": 0.75}, [0, 1]),
        ({"mass": 1.0}, [0, 1, 2]),
    ],
)
def test_shares_that_are_met_exactly(rules, kept):
    """Of equal weights the first stays longer; a weight of zero is not needed for any sum."""
    items, weight = Items(torch.zeros(1, 1)), torch.tensor([[0.5, 0.25, 0.25, 0.0]])
    assert Routing.by_mask(items, weight).skip(rules).expert.tolist() == kept


def test_weights_are_scaled_back_to_their_sum():
    routing = layouts()["by item"].skip({"weight": 0.8}, renormalize=True)
    sums = torch.zeros(N, dtype=torch.float64).index_add(0, routing.item, routing.weight)
    torch.testing.assert_close(sums, torch.ones_like(sums))


def test_a_weight_that_is_no_number_stays():
    """It has to show: in the output, and in what reports where it comes from."""
    weight = torch.tensor([[0.5, torch.nan], [0.9, 0.1]])
    routing = Routing.by_item(Items(torch.zeros(2, 1)), torch.tensor([[0, 1]] * 2), weight, 2)
    for rules in RULES[:3]:
        assert routing.skip(rules).item.tolist() == [0, 0, 1]


def test_slots_and_merged_experts_stay():
    items, half = Items(torch.zeros(4, 1)), torch.full((1, 4, 2), 0.5)
    for routing in (
        Routing.by_slot(items, half, half, 2),
        Routing.by_merge(items, torch.tensor([[0.1, 0.9]])),
    ):
        assert routing.skip({"weight": 1.0}) is routing


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"wieght": 0.2}, "wieght: unknown; did you mean 'weight'"),
        ({"mass": 1.5}, r"mass=1.5 is invalid: expected a number in \(0, 1\]"),
        ({"weight": 0}, "weight=0 is invalid"),
        ({"weight": float("nan")}, "weight=nan is invalid"),
        ({"weight": None}, "weight=None is invalid"),
    ],
)
def test_bad_rules_are_refused(rules, message):
    with pytest.raises(ConfigError, match=message):
        check_skip(rules)


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_an_item_keeps_an_expert_also_if_all_weights_are_zero(rules):
    items = Items(torch.zeros(1, 1))
    routing = Routing.by_item(items, torch.tensor([[0, 1]]), torch.zeros(1, 2), 3)
    assert routing.skip(rules).num_assignments >= 1
