"""A mixture of attention heads against a loop over items and heads."""

import math
from functools import partial

import pytest
import torch

import experts
import routers
from experts import MixtureOfAttentionHeads, attend_to_all, attend_to_past, rotary, skip_experts
from routers import ConfigError

REAL = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
D, E, P = 6, 4, 2


def layer_of(router="topk", attend=attend_to_all, settings=(), **options):
    torch.manual_seed(0)
    built = routers.build(router, D, E, **options)
    return MixtureOfAttentionHeads(built, width=P, attend=attend, **dict(settings)).double()


def looped(layer, x, routing, mask, causal):
    """Assignment by assignment, position by position."""
    keys, values = layer.key_value(x).chunk(2, -1)
    y = [[torch.zeros(D, dtype=x.dtype) for _ in range(5)] for _ in range(3)]
    for item, e, weight in zip(routing.item, routing.expert, routing.weight, strict=True):
        b, t = divmod(int(item), 5)
        query = x[b, t] @ layer.bank.query[e]
        seen = [s for s in range(t + 1 if causal else 5) if mask is None or mask[b, s]]
        scores = torch.stack([query @ keys[b, s] / math.sqrt(P) for s in seen]).softmax(0)
        head = sum(p * values[b, s] for p, s in zip(scores, seen, strict=True))
        y[b][t] = y[b][t] + weight * (head @ layer.bank.output[e])
    return torch.stack([torch.stack(row) for row in y])


@pytest.mark.parametrize("mask", [None, REAL], ids=["whole", "padded"])
@pytest.mark.parametrize("attend", [attend_to_all, attend_to_past])
@pytest.mark.parametrize(
    ("router", "settings", "options"),
    [
        ("topk", {}, {"k": 2}),
        ("topk", {"capacity": 0.6}, {"k": 3}),
        ("top_p", {}, {"threshold": 0.5}),
    ],
)
def test_a_mixture_of_heads(router, settings, options, attend, mask):
    layer = layer_of(router, attend, settings.items(), **options)
    x = torch.randn(3, 5, D, dtype=torch.float64, requires_grad=True)
    y, routing = layer(x, mask=mask)
    causal = attend is attend_to_past
    blank = x if mask is None else x * mask.unsqueeze(-1)
    wanted = looped(layer, blank, routing, mask, causal)
    torch.testing.assert_close(y, wanted)
    own = [x, *layer.parameters()]
    pairs = (torch.autograd.grad(z.square().sum(), own, retain_graph=True) for z in (y, wanted))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other)
    layer.keep_outputs = True
    kept, routing = layer(x, mask=mask)
    summed = torch.zeros(15, D, dtype=x.dtype)
    summed.index_add_(0, routing.item, routing.weight.unsqueeze(1) * routing.outputs)
    torch.testing.assert_close(kept, summed.view(3, 5, D))


def test_flops_are_those_that_are_counted():
    x = torch.randn(3, 5, D, dtype=torch.float64)
    for settings in ({}, {"capacity": 0.5}):
        layer = layer_of(settings=settings.items())
        routing = layer(x)[1]
        router = experts.count_flops(partial(layer.router, x.view(15, D)))
        counted = experts.count_flops(partial(layer, x))
        assert counted == layer.flops(routing, (D,)) + router
        with skip_experts([layer]):  # attention is no part of the experts
            outside = experts.count_flops(partial(layer, x))
        assert outside + layer.expert_flops(routing.load.tolist(), 15, (D,)) == counted
    one = 15 * 4 * D * P + 15 * 2 * 4 * D * P + 3 * 4 * 5 * (2 * 5) * P  # 2 of 5 queries each
    assert layer_of().flops(layer_of()(x)[1], (D,)) == one


def test_positions_and_one_head_for_all():
    """With the same head for all items it is common attention."""
    layer = layer_of("uniform", partial(rotary, attend_to_past), k=1)
    x = torch.randn(3, 5, D, dtype=torch.float64)
    y, routing = layer(x)
    flat = x.view(15, D)
    query = torch.stack([flat[i] @ layer.bank.query[e] for i, e in enumerate(routing.expert)])
    key, value = layer.key_value(x).chunk(2, -1)
    heads = (each.view(3, 1, 5, P) for each in (query, key, value))
    seen = rotary(attend_to_past, *heads, None).view(15, P)
    wanted = torch.stack([seen[i] @ layer.bank.output[e] for i, e in enumerate(routing.expert)])
    torch.testing.assert_close(y.view(15, D), wanted)


@pytest.mark.parametrize(
    ("router", "message"),
    [
        ("merged", "Merged averages the parameters of experts, so it does not fit in attention"),
        ("expert_choice", "ExpertChoice does not choose experts for each item"),
        ("soft_moe", "SoftMoE does not choose experts.* such as topk"),
    ],
)
def test_routers_that_do_not_fit(router, message):
    with pytest.raises(ConfigError, match=message):
        layer_of(router)(torch.randn(3, 5, D, dtype=torch.float64))


def test_settings_that_cannot_work():
    with pytest.raises(ConfigError, match="width=0 is invalid"):
        MixtureOfAttentionHeads(routers.build("topk", D, E), width=0)
    with pytest.raises(ConfigError, match="shared: routed attention has none"):
        layer_of(settings={"shared": experts.build("mlp", D, 1)}.items())
    with pytest.raises(ConfigError, match="attention heads work on rows of this process alone"):
        experts.check_split(layer_of(), 2)
