"""GShard's top two: the second expert is sampled in training, always used in eval."""

import pytest
import torch

import routers
from routers import ConfigError, Items


def identity_router() -> routers.Router:
    """Three experts whose logits are the item itself."""
    router = routers.build("gshard_top2", 3, 3)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(3))
    return router


# softmax of (log 1, log 3, log 6) is (.1, .3, .6), over the two largest (1/3, 2/3)
X = torch.tensor([[1.0, 3.0, 6.0]]).log()


def test_in_eval_both_work_with_their_shares():
    routing = identity_router().eval()(Items(X))
    assert routing.expert.tolist() == [2, 1]
    torch.testing.assert_close(routing.weight, torch.tensor([2 / 3, 1 / 3]))


def test_in_training_the_second_works_twice_as_often_as_its_share():
    torch.manual_seed(0)
    n = 20_000
    routing = identity_router()(Items(X.repeat(n, 1)))
    first, second = routing.expert == 2, routing.expert == 1
    assert first.sum() == n
    assert routing.load[0] == 0
    assert abs(second.sum().item() / n - 2 / 3) < 4 * (2 / 9 / n) ** 0.5
    # neither is scaled up where the other does not work
    torch.testing.assert_close(routing.weight[first], torch.full((n,), 2 / 3))
    torch.testing.assert_close(routing.weight[second], torch.full((int(second.sum()),), 1 / 3))


def test_of_two_equals_the_second_always_works():
    torch.manual_seed(0)
    x = torch.tensor([[0.0, 5.0, 5.0]]).repeat(1000, 1)
    assert identity_router()(Items(x)).num_assignments == 2000


def test_one_expert_is_refused():
    with pytest.raises(ConfigError, match=r"num_experts=1 .*>= 2"):
        routers.build("gshard_top2", 3, 1)
