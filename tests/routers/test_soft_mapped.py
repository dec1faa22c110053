"""The warm-up of soft maps, and their options."""

import pytest
import torch

import routers
from routers import ConfigError, Items


def own_weight(router):
    routing = router(Items(torch.zeros(1, 2), task=torch.tensor([1])))
    return round(routing.weight[1].item(), 6)


def test_warm_up_advances_in_training_only():
    router = routers.build("soft_mapped", 2, 4, inactive=0.25, warmup=3)
    target, found = 1 / 1.75, []
    for training in (True, False, True, True, True):
        found.append(own_weight(router))
        router.train(training).adapt(torch.ones(4, dtype=torch.int64))
    shares = (0.5 - 0.5 * 0.5**0.5, 0.5, 0.5, 0.5 + 0.5 * 0.5**0.5, 1.0)
    assert found == [round(0.25 + (target - 0.25) * share, 6) for share in shares]
    assert own_weight(router) == round(target, 6)


@pytest.mark.parametrize("option", [{"inactive": 0.0}, {"inactive": 1.0}, {"warmup": -1}])
def test_options_are_checked(option):
    with pytest.raises(ConfigError, match=rf"router\.{next(iter(option))}=.* is invalid"):
        routers.build("soft_mapped", 2, 4, **option)


def test_an_unknown_task_is_named():
    router = routers.build("soft_mapped", 2, 4, table=[0, 1])
    with pytest.raises(ConfigError, match="router=soft_mapped: an item has task 2"):
        router(Items(torch.zeros(1, 2), task=torch.tensor([2])))
