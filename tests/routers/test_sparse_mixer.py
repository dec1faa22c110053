"""Estimates of the gradient of a random choice."""

import pytest
import torch

import routers
from routers import ConfigError, Items
from routers.sparse_mixer import ESTIMATORS


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_sampled_weight_is_scaled_and_keeps_its_gradient(estimator):
    torch.manual_seed(0)
    router = routers.build("sparse_mixer", 3, 3, k=1, estimator=estimator, margin=0.99)
    router = router.double().train()
    x = torch.randn(1, 3, dtype=torch.float64).expand(4000, 3)
    routing = router(Items(x))
    p = routing.logits[0].softmax(-1)
    best, (point, full, gain) = p.argmax(), ESTIMATORS[estimator]
    share = routing.weight / p[routing.expert]
    others = share[routing.expert != best]
    assert (share[routing.expert == best] - 1).abs().max() < 1e-12
    assert set(others.detach().mul(6).round().tolist()) == {6.0, round(6 * point)}
    assert abs((others > 0.9).double().mean() - full) < 5 * (0.25 / len(others)) ** 0.5
    [found] = torch.autograd.grad(routing.weight.sum(), routing.logits)
    one = torch.nn.functional.one_hot(routing.expert, 3)
    torch.testing.assert_close(found, gain * p[routing.expert, None] * (one - p))


def test_far_scores_are_never_sampled():
    router = routers.build("sparse_mixer", 2, 2, k=1, margin=0.1).train()
    router.gate.weight.data.copy_(torch.eye(2))
    near, far = (router(Items(torch.tensor([[1.0, b]]).expand(500, 2))) for b in (0.9, 0.7))
    assert near.load.min() > 100
    assert far.load.tolist() == [500, 0]


@pytest.mark.parametrize("option", [{"margin": 1.0}, {"estimator": "euler"}])
def test_options_are_checked(option):
    with pytest.raises(ConfigError, match=rf"router\.{next(iter(option))}="):
        routers.build("sparse_mixer", 2, 2, **option)
