"""Top-any routing: its gradient, and the counts that growth needs."""

import torch

import routers
from routers import Items


def test_the_gradient_ignores_the_sign():
    torch.manual_seed(0)
    router = routers.build("top_any", 4, 5).double().train()
    routing = router(Items(torch.randn(1, 4, dtype=torch.float64)))
    size = routing.num_assignments
    assert routing.weight.tolist() == [1 / size] * size
    [slope] = torch.autograd.grad(routing.weight.sum(), router.threshold)
    wanted = torch.zeros(5, dtype=torch.float64)
    wanted[routing.expert] = -0.25 / size  # the slope of sigma at 0
    torch.testing.assert_close(slope, wanted)


def test_activity_counts_steps_of_training_only():
    router = routers.build("top_any", 2, 2)
    router.gate.centroid.data.copy_(torch.eye(2))
    items = Items(torch.tensor([[1.0, -1.0], [-1.0, -1.0], [2.0, -3.0]]))
    for training in (True, False):
        routing = router.train()(items)
        router.train(training)
        router.adapt(routing.load)
        router.adapt_from_counts(routing.extras["counts"])
    assert router.activity.load.tolist() == [2, 0]
    assert (router.activity.idle, router.activity.unreached) == ([1], 1 / 3)
    assert router.eval()(items).load.sum() == 3  # every item has an expert in evaluation
    router.activity.reset()
    assert (router.activity.idle, router.activity.unreached) == ([0, 1], 0.0)
