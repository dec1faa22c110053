"""Null experts: omitted assignments, weights, and the share of null choices."""

import pytest
import torch

import routers
from routers import ConfigError, Items


def identity_router(e: int, nulls: int, **options: object) -> routers.Router:
    """Scores are the item itself, real experts first."""
    router = routers.build("null_experts", e + nulls, e, nulls=nulls, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(e + nulls))
    return router


# softmax of (log 1, log 3 | log 4, log 2) is (.1, .3 | .4, .2)
X = torch.tensor([[1.0, 3.0, 4.0, 2.0]]).log()


def test_null_choices_vanish_and_the_rest_keep_their_weights():
    routing = identity_router(2, 2, k=2)(Items(X))
    assert routing.expert.tolist() == [1]
    torch.testing.assert_close(routing.weight, torch.tensor([0.3]))
    assert routing.extras["counts"].tolist() == [1, 2]


def test_nothing_is_counted_in_eval():
    assert "counts" not in identity_router(2, 2, k=2).eval()(Items(X)).extras


def test_an_item_may_choose_nothing_at_all():
    routing = identity_router(2, 2, k=1)(Items(X))
    assert routing.num_assignments == 0
    assert routing.requested_load.tolist() == [0, 0]


def test_probs_compare_real_experts_alone():
    routing = identity_router(2, 2, k=2)(Items(X))
    torch.testing.assert_close(routing.probs, torch.tensor([[0.25, 0.75]]))
    even = identity_router(2, 2, k=2)(Items(torch.zeros(4, 4)))
    assert routers.LOSSES["switch"](even).item() == pytest.approx(1.0)


def test_without_nulls_among_the_choices_it_is_topk():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(7, 5), torch.full((7, 3), -50.0)], 1)
    routing = identity_router(5, 3, k=2)(Items(x))
    plain = routers.build("topk", 5, 5, k=2, weighting="probability")
    with torch.no_grad():
        plain.gate.weight.copy_(torch.eye(5))
    expected = plain(Items(x[:, :5]))
    assert routing.expert.tolist() == expected.expert.tolist()
    torch.testing.assert_close(routing.weight, expected.weight)


def test_the_bias_selects_and_never_weighs():
    router = identity_router(2, 2, k=2, rate=0.9)
    router.adapt_from_counts(torch.tensor([8, 10]))  # more than half: nulls become rarer
    assert router.bias.value.item() == pytest.approx(-0.9)
    routing = router(Items(X))  # log 4 - .9 is still above log 1, log 2 - .9 not
    torch.testing.assert_close(routing.weight, torch.tensor([0.3]))
    router.adapt_from_counts(torch.tensor([8, 10]))
    routing = router(Items(X))
    assert routing.expert.tolist() == [1, 0]
    torch.testing.assert_close(routing.weight, torch.tensor([0.3, 0.1]))
    router.adapt_from_counts(torch.tensor([5, 10]))  # as wanted
    router.adapt_from_counts(torch.tensor([0, 0]))  # a step without items
    assert router.bias.value.item() == pytest.approx(-1.8)


@pytest.mark.parametrize("tilt", [-3.0, 3.0])
def test_the_bias_brings_nulls_to_their_share(tilt):
    torch.manual_seed(0)
    router = identity_router(4, 2, k=3, rate=0.05).train()
    shift = torch.tensor([0.0] * 4 + [tilt] * 2)
    for _ in range(150):
        routing = router(Items(torch.randn(200, 6) + shift))
        router.adapt_from_counts(routing.extras["counts"])
    null, total = routing.extras["counts"].tolist()
    assert total == 600
    assert null / total == pytest.approx(2 / 6, abs=0.06)
    assert routing.experts_per_item == 2.0  # 3 * 4 / 6 real experts per item


def test_a_bias_of_each_real_expert_keeps_the_budget_and_balances():
    torch.manual_seed(0)
    router = identity_router(4, 2, k=3, rule="experts", budget=1.5).train()
    shift = torch.tensor([3.0, 1.0, 0.0, -1.0, 0.0, 0.0])
    for _ in range(300):
        routing = router(Items(torch.randn(500, 6) + shift))
        router.adapt_from_counts(routing.extras["counts"])
    assert routing.extras["counts"].sum() == 1500
    assert routing.num_assignments / 500 == pytest.approx(1.5, abs=0.1)
    assert routers.max_violation(routing.load) < 0.25
    assert routing.experts_per_item == 1.5


def test_padding_is_not_counted():
    mask = torch.tensor([True, False, True])
    assert identity_router(2, 2, k=2)(Items(X.repeat(3, 1), mask=mask)).extras[
        "counts"
    ].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nulls": 0}, r"router\.nulls=0 is invalid: expected an integer >= 1"),
        ({"k": 9}, r"router\.k=9 .*num_experts \+ nulls = 8"),
        ({"budget": 3.0}, r"router\.budget=3\.0 is invalid: expected a number in \(0, k=3\)"),
        ({"rule": "real"}, r"router\.rule=real: unknown"),
        ({"rate": 1.0}, r"router\.rate=1\.0 is invalid: expected a number in \[0, 1\)"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        routers.build("null_experts", 4, 4, **options)
