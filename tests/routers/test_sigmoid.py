"""Sigmoid affinities: the bias changes the selection only, and ``adapt`` updates it."""

import pytest
import torch

import routers
from routers import ConfigError, Items, max_violation
from routers.blocks import UPDATE_RULES

# sigma of these is (.1, .5, .8, .9)
X = torch.tensor([[1 / 9, 1.0, 4.0, 9.0]]).log()


def identity_router(**options: object) -> routers.Router:
    """Four experts whose logits are the item itself."""
    router = routers.build("sigmoid", 4, 4, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(4))
    return router


def adapt(router: routers.Router, routing: routers.Routing) -> None:
    """What a run does after a step."""
    router.adapt(routing.load)
    if "counts" in routing.extras:
        router.adapt_from_counts(routing.extras["counts"])


def test_weights_are_scores_over_their_sum():
    routing = identity_router(k=2)(Items(X))
    assert routing.expert.tolist() == [3, 2]
    torch.testing.assert_close(routing.weight, torch.tensor([0.9, 0.8]) / 1.7)
    torch.testing.assert_close(routing.probs, torch.tensor([[0.1, 0.5, 0.8, 0.9]]) / 2.3)


def test_weights_may_be_the_scores_themselves():
    router = identity_router(k=1, weighting="probability")
    torch.testing.assert_close(router(Items(X)).weight, torch.tensor([0.9]))
    assert not router.traits.convex


def test_scale_multiplies_the_weights():
    router = identity_router(k=2, scale=2.5)
    torch.testing.assert_close(router(Items(X)).weight.sum(), torch.tensor(2.5))
    assert not router.traits.convex


def test_the_bias_selects_and_never_weighs():
    router = identity_router(k=2)
    router.bias.value += torch.tensor([0.75, 0.0, 0.0, 0.0])  # .85 beats .8, not .9
    routing = router(Items(X))
    assert routing.expert.tolist() == [3, 0]
    torch.testing.assert_close(routing.weight, torch.tensor([0.9, 0.1]))
    torch.testing.assert_close(routing.probs, torch.tensor([[0.1, 0.5, 0.8, 0.9]]) / 2.3)
    torch.testing.assert_close(routing.logits, X)


def test_weights_stay_finite_where_every_score_vanishes():
    routing = identity_router(k=2)(Items(torch.tensor([[-300.0, -301.0, -400.0, -500.0]])))
    torch.testing.assert_close(routing.weight, torch.tensor([torch.e, 1.0]) / (1 + torch.e))
    assert routing.probs.isfinite().all()


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_it_moves_in_training_alone(rule):
    torch.manual_seed(0)
    router = routers.build("sigmoid", 4, 4, rule=rule)
    routing = router(Items(torch.randn(50, 4) + 1))
    router.eval()
    adapt(router, routing)
    assert not router.bias.value.any()
    router.train()
    adapt(router, routing)
    assert router.bias.value.any()
    assert not any("bias" in name for name, _ in router.named_parameters())


def test_eval_tallies_nothing():
    router = routers.build("sigmoid", 4, 4, rule="quantile")
    assert router(Items(X)).extras["counts"].sum() == 4
    assert "counts" not in router.eval()(Items(X)).extras


def test_padding_is_not_tallied():
    torch.manual_seed(0)
    router = routers.build("sigmoid", 4, 4, rule="quantile")
    x = torch.randn(6, 4)
    mask = torch.tensor([True, True, False, True, False, True])
    assert torch.equal(
        router(Items(x, mask=mask)).extras["counts"], router(Items(x[mask])).extras["counts"]
    )


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_a_skewed_gate_is_balanced(rule):
    torch.manual_seed(0)
    router = routers.build("sigmoid", 16, 8, rule=rule)
    with torch.no_grad():
        router.gate.weight += 0.1 * torch.linspace(-1, 1, 8).unsqueeze(1)
    batches = [Items(torch.randn(4096, 16) + 0.7) for _ in range(3)]
    before = max_violation(router(batches[0]).load)
    for step in range(200):
        routing = router(batches[step % 3])
        adapt(router, routing)
    assert before > 0.8
    assert max_violation(router(batches[0]).load) < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 1}, r"router\.k=1 .*use weighting=probability"),
        ({"rule": "sing"}, r"router\.rule=sing.*sign"),
        ({"rate": -0.1}, r"router\.rate=-0\.1"),
        ({"rule": "quantile", "rate": 1.5}, r"router\.rate=1\.5.*in \[0, 1\]"),
        ({"rate": float("inf")}, r"router\.rate=inf"),
        ({"scale": 0.0}, r"router\.scale=0\.0"),
        ({"weighting": "softmax"}, r"router\.weighting=softmax"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        routers.build("sigmoid", 4, 4, **options)
