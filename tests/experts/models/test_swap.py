"""Another router in front of trained experts."""

from copy import deepcopy

import pytest
import torch
from torch import nn

import experts
import routers
from experts import MoE, swap_router
from routers import ConfigError


def layer_of(num_experts=4, bank="mlp", dtype=torch.float32):
    torch.manual_seed(0)
    router = routers.build("topk", 8, num_experts, k=2)
    shared = experts.build("mlp", 8, 1)
    return MoE(router, experts.build(bank, 8, num_experts), shared=shared, capacity=2.0).to(dtype)


def test_every_layer_gets_a_router_of_its_size():
    model = nn.ModuleDict({"a": layer_of(), "b": layer_of(6)}).eval()
    model.requires_grad_(False)
    state = {n: v for n, v in deepcopy(model.state_dict()).items() if ".router." not in n}
    new = swap_router(model, "sigmoid", k=3)
    assert {name: router.num_experts for name, router in new.items()} == {"a": 4, "b": 6}
    for name, router in new.items():
        assert model[name].router is router
        assert not router.training
        assert model[name].capacity == 2.0
    assert all(model.state_dict()[name].equal(values) for name, values in state.items())
    learned = [name for name, values in model.named_parameters() if values.requires_grad]
    assert learned == ["a.router.gate.weight", "b.router.gate.weight"]
    _, routing = model["b"](torch.randn(5, 8))
    assert routing.requested_load.sum() == 15


@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_routers_are_of_float32_or_wider(dtype, expected):
    layer = layer_of(dtype=dtype)
    (router,) = swap_router(layer, "topk", k=2).values()
    assert router.gate.weight.dtype == expected
    assert layer(torch.randn(5, 8, dtype=dtype))[0].dtype == dtype


def test_nothing_changes_if_a_layer_does_not_fit():
    model = nn.ModuleDict({"a": layer_of(8), "b": layer_of(4)})
    before = [each.router for each in model.values()]
    with pytest.raises(ConfigError, match=r"router\.k=5 is invalid: expected an integer in \[1, n"):
        swap_router(model, "sigmoid", k=5)
    with pytest.raises(ConfigError, match="router=topkk: unknown; did you mean 'topk'"):
        swap_router(model, "topkk")
    merges = nn.ModuleDict({"a": layer_of(8), "b": layer_of(4, "null")})
    first = merges["a"].router
    with pytest.raises(ConfigError, match="parameters"):
        swap_router(merges, "merged")
    assert [each.router for each in model.values()] == before
    assert merges["a"].router is first
    with pytest.raises(ConfigError, match=r"ExpertChoice depend on later items.*such as topk"):
        swap_router(model, "expert_choice", causal=True)
    assert swap_router(deepcopy(model), "expert_choice")
    with pytest.raises(ConfigError, match="no MoE layer"):
        swap_router(nn.Linear(2, 2), "topk")
    gates = [routers.build("topk", 8, 4) for _ in range(2)]
    several = experts.MultiGateMoE(gates, experts.build("mlp", 8, 4), experts.mmoe(4, tasks=2))
    with pytest.raises(ConfigError, match="several gates"):
        swap_router(several, "topk")
