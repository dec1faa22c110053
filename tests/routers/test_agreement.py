"""Rounds of agreement computed by hand, and their invariants."""

import math

import pytest
import torch

import routers
from routers import ConfigError, Items
from routers.agreement import AgreementRounds
from routers.routing import Combine


def softmax(scores):
    parts = [math.exp(s) for s in scores]
    return [part / sum(parts) for part in parts]


def squash(s):
    square = sum(v * v for v in s)
    return [v * math.sqrt(square) / (1 + square) for v in s]


def by_hand(said, prior, rounds):
    """Procedure 1 of the paper for one item, from scores ``prior``."""
    b = list(prior)
    for _ in range(rounds):
        c = softmax(b)
        s = [sum(weight * u[f] for weight, u in zip(c, said, strict=True)) for f in range(2)]
        v = squash(s)
        b = [score + sum(a * w for a, w in zip(u, v, strict=True)) for score, u in zip(b, said)]  # noqa: B905
    return v


@pytest.mark.parametrize("rounds", [1, 2, 3, 5])
def test_votes_by_hand(rounds):
    said = [[1.0, 2.0], [0.5, -1.0], [1.5, 1.0]]
    prior = [0.3, 0.1, -0.4]
    outputs = torch.tensor([said], dtype=torch.float64)
    weight = torch.tensor([softmax(prior)], dtype=torch.float64)
    found = AgreementRounds(rounds, squash=True).combine(outputs, weight)[0]
    assert found.tolist() == pytest.approx(by_hand(said, prior, rounds), abs=1e-12)


def test_squash_keeps_the_direction_and_shortens():
    outputs = torch.tensor([[[3.0, 4.0]]])
    weight = torch.ones(1, 1)
    plain, short = (
        AgreementRounds(1, squash).combine(outputs, weight)[0] for squash in (False, True)
    )
    assert plain.tolist() == [3.0, 4.0]
    assert short.norm().item() == pytest.approx(25 / 26)  # of a length of 5
    assert (short / short.norm()).tolist() == pytest.approx([0.6, 0.8])


def test_who_disagrees_loses_its_say():
    outputs = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]])
    even = torch.full((1, 3), 1 / 3)
    heard = [
        AgreementRounds(rounds, squash=False).combine(outputs, even)[0, 0].item()
        for rounds in (1, 2, 9)
    ]
    assert heard[0] == pytest.approx(1 / 3)
    assert heard[0] < heard[1] < heard[2] < 1


def test_outputs_learn_from_the_last_round_alone():
    """With what was said before held still, the slope is that of the last mean."""
    torch.manual_seed(0)
    outputs = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(2, 3, dtype=torch.float64).softmax(-1)
    y = AgreementRounds(3, squash=False).combine(outputs, weight)
    (gradient,) = torch.autograd.grad(y.sum(), outputs)
    assert torch.allclose(gradient, gradient[..., :1].expand_as(gradient))  # c, for every feature
    assert torch.allclose(gradient[..., 0].sum(1), torch.ones(2, dtype=torch.float64))


def test_items_without_an_expert_get_nothing_and_stay_finite():
    outputs = torch.zeros(1, 3, 2, requires_grad=True)
    weight = torch.zeros(1, 3, requires_grad=True)
    y = AgreementRounds(3, squash=True).combine(outputs, weight)
    y.sum().backward()
    assert not y.any()
    assert outputs.grad.isfinite().all()
    assert weight.grad.isfinite().all()


def test_an_expert_that_was_left_out_is_not_heard():
    said = torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(1))
    said[0, 2] = 0.0
    weight = torch.tensor([[0.5, 0.25, 0.0]])
    without = AgreementRounds(3, squash=True).combine(said[:, :2], weight[:, :2])
    assert torch.allclose(AgreementRounds(3, squash=True).combine(said, weight), without)


def test_bad_options():
    with pytest.raises(ConfigError, match=r"router.rounds=0 is invalid: expected an integer"):
        routers.build("agreement", 4, 4, rounds=0)


def test_the_rule_travels_with_the_routing():
    routing = routers.build("agreement", 4, 4, rounds=2)(Items(torch.randn(6, 4)))
    assert routing.limit(0.5).execution == Combine(AgreementRounds(2, squash=True))
