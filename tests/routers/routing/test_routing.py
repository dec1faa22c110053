"""Routings and items: constructors, layouts, what may be asked of them."""

import pytest
import torch

from routers import ConfigError, Items, Routing

X = torch.zeros(5, 2)


def test_by_item_lies_item_by_item():
    routing = Routing.by_item(
        Items(torch.zeros(2, 1)), torch.tensor([[2, 0], [1, 2]]), torch.ones(2, 2), 3
    )
    assert routing.item.tolist() == [0, 0, 1, 1]
    assert routing.expert.tolist() == [2, 0, 1, 2]
    assert (routing.fan_out, routing.fan_in) == (2, None)


def test_by_expert_lies_expert_by_expert():
    routing = Routing.by_expert(
        Items(torch.zeros(4, 1)), torch.tensor([[3, 0], [1, 3]]), torch.ones(2, 2)
    )
    assert routing.item.tolist() == [3, 0, 1, 3]
    assert routing.expert.tolist() == [0, 0, 1, 1]
    assert (routing.fan_out, routing.fan_in) == (None, 2)


def test_by_mask_keeps_the_pairs_it_is_given():
    keep = torch.tensor([[True, False], [True, True]])
    weight = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    routing = Routing.by_mask(Items(torch.zeros(2, 1)), weight, keep)
    assert torch.equal(routing.assigned_mask, keep)
    torch.testing.assert_close(routing.probs, weight * keep)
    assert routing.fan_in is None


def test_by_mask_without_a_mask_is_dense():
    routing = Routing.by_mask(Items(torch.zeros(3, 1)), torch.ones(3, 2))
    assert routing.load.tolist() == [3, 3]
    assert routing.fan_in == 3


def test_by_slot_splits_slots_among_experts_in_order():
    items = Items(torch.zeros(4, 1), groups=2)
    half = torch.full((2, 2, 4), 0.25)
    routing = Routing.by_slot(items, half, half, num_experts=2)
    # slots 0 1 | 2 3 of group 0, slots 4 5 | 6 7 of group 1
    assert routing.item.tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
    assert routing.expert.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert routing.probs.tolist() == [[0.5, 0.5]] * 4
    assert routing.limit(0.1) is routing


@pytest.mark.parametrize("build", ["by_item", "by_expert", "by_mask"])
def test_padding_is_dropped_and_the_layout_forgotten(build):
    items = Items(torch.zeros(2, 1), mask=torch.tensor([True, False]))
    routing = {
        "by_item": lambda: Routing.by_item(items, torch.tensor([[0], [1]]), torch.ones(2, 1), 2),
        "by_expert": lambda: Routing.by_expert(items, torch.tensor([[0], [1]]), torch.ones(2, 1)),
        "by_mask": lambda: Routing.by_mask(items, torch.eye(2), torch.eye(2).bool()),
    }[build]()
    assert routing.item.tolist() == [0]
    assert (routing.fan_out, routing.fan_in) == (None, None)
    assert routing.requested_load.tolist() == [1, 0]
    assert routing.num_real == 1


def test_probs_fall_back_to_weights():
    routing = Routing.by_item(
        Items(torch.zeros(1, 1)), torch.tensor([[2, 0]]), torch.tensor([[0.7, 0.3]]), 3
    )
    torch.testing.assert_close(routing.probs, torch.tensor([[0.3, 0.0, 0.7]]))


def test_weights_per_task_are_averaged_into_probs():
    weight = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # each task likes another expert
    routing = Routing.by_item(Items(torch.zeros(1, 1)), torch.tensor([[0, 1]]), weight, 2)
    assert routing.probs.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": torch.zeros(2, 3, 4)}, r"x has shape \(2, 3, 4\): expected \(N, D\)"),
        ({"x": X, "groups": 2}, "5 items do not split into 2 equal groups"),
        ({"x": X, "groups": 0}, "5 items do not split into 0"),
        (
            {"x": X, "mask": torch.ones(4).bool()},
            r"mask has shape \(4,\): expected \(N=5,\)",
        ),
        (
            {"x": X, "ids": torch.ones(5, 1)},
            r"ids has shape \(5, 1\): expected \(N=5,\)",
        ),
        (
            {"x": X, "mask": torch.ones(5)},
            "mask has dtype torch.float32: expected torch.bool",
        ),
    ],
)
def test_items_refuse_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        Items(**arguments)


N, K, E = 3, 2, 4
EXPERT, WEIGHT = torch.zeros(N, K, dtype=torch.int64), torch.ones(N, K)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda items: Routing.by_item(items, EXPERT, torch.ones(N, 1), E),
            r"weight has shape \(3, 1\): expected \(N=3, K=2\) as expert",
        ),
        (
            lambda items: Routing.by_item(items, EXPERT[:2], WEIGHT[:2], E),
            r"expert has shape \(2, 2\): expected \(N=3, K=2\)",
        ),
        (
            lambda items: Routing.by_item(items, EXPERT.float(), WEIGHT, E),
            "expert has dtype torch.float32: expected torch.int64",
        ),
        (
            lambda items: Routing.by_item(items, EXPERT, WEIGHT, E, keep=EXPERT[:, 0] > 0),
            r"keep has shape \(3,\): expected \(N=3, K=2\) as expert",
        ),
        (
            lambda items: Routing.by_item(items, EXPERT, WEIGHT, E, logits=torch.ones(N, E - 1)),
            r"logits has shape \(3, 3\): expected \(N=3, E=4\)",
        ),
        (
            lambda items: Routing.by_item(
                items, EXPERT, WEIGHT, E, logits=torch.ones(N, E), candidates=EXPERT
            ),
            r"logits has shape \(3, 4\): expected \(N=3, S=2\)",
        ),
        (
            lambda items: Routing.by_expert(items, EXPERT, WEIGHT.t()),
            r"weight has shape \(2, 3\): expected \(E=3, C=2\) as item",
        ),
        (
            lambda items: Routing.by_mask(items, WEIGHT, expected_load=torch.ones(3)),
            r"expected_load has shape \(3,\): expected \(E=2,\)",
        ),
        (
            lambda items: Routing.by_mask(items, WEIGHT, probs=torch.ones(N, 3)),
            r"probs has shape \(3, 3\): expected \(N=3, E=2\)",
        ),
        (
            lambda items: Routing.by_slot(items, torch.ones(1, N, 4), torch.ones(1, N, 2), 2),
            r"combine has shape \(1, 3, 2\): expected \(G=1, L=3, S=4\) as dispatch",
        ),
        (
            lambda items: Routing.by_slot(items, torch.ones(1, N, 4), torch.ones(1, N, 4), 3),
            "4 slots do not split among num_experts=3",
        ),
        (
            lambda items: Routing.by_merge(items, torch.ones(2, E)),
            r"weight has shape \(2, 4\): expected \(M, E\), M a divisor of N=3",
        ),
    ],
)
def test_constructors_check_shapes(build, message):
    with pytest.raises(ConfigError, match=message):
        build(Items(torch.zeros(N, 1)))


@pytest.mark.parametrize("name", ["logit", "prob"])
def test_constructors_reject_unknown_fields(name):
    items, weight = Items(torch.zeros(2, 1)), torch.ones(2, 3)
    with pytest.raises(TypeError, match=name):
        Routing.by_mask(items, weight, **{name: weight})
