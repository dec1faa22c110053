"""Recording of routings: which, when, and what it leaves behind."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import experts
import routers
from experts import MoE, record
from routers import ConfigError


class Net(nn.Module):
    """Two layers; the second may be recomputed."""

    def __init__(self, router="topk", recomputed=None, **settings):
        super().__init__()
        self.first = MoE(routers.build(router, 8, 4), experts.build("mlp", 8, 4), **settings)
        self.blocks = nn.ModuleList(
            [MoE(routers.build(router, 8, 4), experts.build("mlp", 8, 4), **settings)]
        )
        self.recomputed = recomputed

    def forward(self, x):
        x, first = self.first(x)
        if self.recomputed is None:
            x, second = self.blocks[0](x)
            return x, [first, second]
        run = lambda x: self.blocks[0](x)[0]  # noqa: E731
        return checkpoint(run, x, use_reentrant=self.recomputed), [first]


def hooks(model):
    return [hook for each in model.modules() for hook in each._forward_hooks.values()]


@pytest.mark.parametrize("router", ["topk", "soft_moe", "merged", "agreement"])
def test_every_pass_of_every_layer(router):
    torch.manual_seed(0)
    model = Net(router, capacity=None if router in ("soft_moe", "merged") else 0.5)
    with record(model) as routes:
        passes = [model(torch.randn(2, 6, 8))[1] for _ in range(3)]
    assert [*routes] == ["first", "blocks.0"]
    model(torch.randn(2, 6, 8))  # not recorded
    for place, found in enumerate(routes.values()):
        assert len(found) == 3
        for routing, of_pass in zip(found, passes, strict=True):
            given = of_pass[place]
            assert torch.equal(routing.item, given.item)
            assert torch.equal(routing.weight, given.weight)
            assert torch.equal(routing.probs, given.probs.detach())
            assert torch.equal(routing.importance, given.importance.detach())
            assert_detached(routing)
    assert not hooks(model)


def assert_detached(value):
    """No tensor in a routing belongs to a graph."""
    if isinstance(value, torch.Tensor):
        assert not value.requires_grad
    elif isinstance(value, dict | tuple | list):
        for each in value.values() if isinstance(value, dict) else value:
            assert_detached(each)
    elif hasattr(value, "__dict__"):
        assert_detached(vars(value))


def test_hooks_are_removed_after_an_error():
    model = Net()
    with pytest.raises(ValueError, match="x has shape"), record(model):
        model(torch.randn(2, 7))
    assert not hooks(model)


def test_training_is_not_disturbed():
    """Gradients with a recorder are those without it."""
    torch.manual_seed(0)
    model, x = Net(), torch.randn(2, 6, 8)
    model(x)[0].square().sum().backward()
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    with record(model) as routes, torch.enable_grad():
        model(x)[0].square().sum().backward()
    after = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(before) == len(after) > 4
    assert all(map(torch.equal, before, after))
    assert len(routes["first"]) == 1


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_activations_do_not_count(reentrant):
    model, x = Net(recomputed=reentrant), torch.randn(2, 6, 8, requires_grad=True)
    with record(model) as routes:
        model(x)[0].sum().backward()
    assert [len(found) for found in routes.values()] == [1, 1]


def test_recorders_do_not_interfere():
    model = Net()
    with record(model) as outer:
        model(torch.randn(3, 8))
        with torch.no_grad(), record(model.blocks) as inner:
            model(torch.randn(3, 8))
        model(torch.randn(3, 8))
    assert [len(outer["first"]), len(outer["blocks.0"]), len(inner["0"])] == [3, 3, 1]


def test_threads_with_models_of_their_own():
    def run(seed):
        model = Net()
        with record(model) as routes:
            for items in range(seed + 1, seed + 20):
                model(torch.randn(items, 8))
        return [routing.num_items for routing in routes["first"]]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(4)))
    assert found == [list(range(seed + 1, seed + 20)) for seed in range(4)]


def test_a_copy_records_for_itself():
    model = Net()
    with record(model) as routes:
        other = copy.deepcopy(model)
        other(torch.randn(3, 8))
    assert routes["first"] == []


def test_a_layer_itself_and_a_model_without_any():
    layer = MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4))
    with record(layer) as routes:
        layer(torch.randn(3, 8))
    assert len(routes[""]) == 1
    with pytest.raises(ConfigError, match="no MoE layer"), record(nn.Linear(2, 2)):
        pass
