"""A random gate that selects more and more experts."""

import torch

import routers
from routers import Items


def test_growth_counts_training_steps_alone():
    router = routers.build("random_fixed", 4, 5, k=1, growth=2, eval_k=3)
    load, items = torch.ones(5, dtype=torch.int64), Items(torch.randn(6, 4))
    found = []
    for training in (True, False, True, False, True):
        router.train(training)
        found.append(router(items).fan_out)
        router.adapt(load)
    assert found == [1, 3, 3, 3, 5]
