"""Experts in a narrower space against the formula, item by item."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

import experts
import routers
from experts import Latent, MoE, skip_experts, static_copy
from routers import ConfigError

D, L, E = 8, 3, 4


def layer_of(norm=True, router="topk", shared=False, **settings):
    torch.manual_seed(0)
    return MoE(
        routers.build(router, D, E),
        experts.build("mlp", L, E, hidden=5),
        shared=experts.build("mlp", D, 1, hidden=5) if shared else None,
        latent=Latent(D, L, norm=norm),
        **settings,
    ).double()


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("router", ["topk", "soft_mixture", "expert_choice"])
def test_the_formula(router, norm):
    layer = layer_of(norm, router, shared=True, capacity=0.8)
    x = torch.randn(2, 5, D, dtype=torch.float64, requires_grad=True)
    y, routing = layer(x)
    maps, bank, flat = layer.latent, layer.bank, x.view(10, D)
    rows = []
    for i in range(10):
        low, total = maps.enter.weight @ flat[i], torch.zeros(L, dtype=x.dtype)
        for e in range(E):
            out = F.gelu(low @ bank.up[e]) @ bank.down[e]
            total = total + routing.mean_weights[i, e] * out
        if norm:
            eps = torch.finfo(x.dtype).eps
            total = total / (total.square().mean() + eps).sqrt() * maps.norm.weight
        of_shared = F.gelu(flat[i] @ layer.shared.up[0]) @ layer.shared.down[0]
        rows.append(maps.leave.weight @ total + of_shared)
    wanted = torch.stack(rows).view_as(x)
    torch.testing.assert_close(y, wanted)
    own = [x, *layer.parameters()]
    pairs = (torch.autograd.grad(z.square().sum(), own, retain_graph=True) for z in (y, wanted))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other)
    if router == "topk":
        layer.capacity = None
        torch.testing.assert_close(static_copy(layer)(x)[0], layer.eval()(x)[0])


def test_flops_and_other_layers():
    layer, x = layer_of(), torch.randn(2, 5, D, dtype=torch.float64)
    routing = layer(x)[1]
    router = experts.count_flops(partial(layer.router, x.view(10, D)))
    counted = experts.count_flops(partial(layer, x))
    assert counted == layer.flops(routing, (L,)) + router
    assert layer.flops(routing, (L,)) == 20 * 4 * L * 5 + 10 * 4 * D * L
    with skip_experts([layer]) as [idle]:
        outside = experts.count_flops(partial(layer, x))
    assert idle.row_shape == (L,)
    assert outside + layer.expert_flops(routing.load.tolist(), 10, (L,)) == counted
    taken = experts.take_experts(layer, [2, 0])
    assert taken.latent.enter.weight.equal(layer.latent.enter.weight)
    gates = [routers.build("topk", D, E) for _ in range(2)]
    bank, several = experts.build("gru", L, E), experts.mmoe(E, tasks=2)
    joint = experts.MultiGateMoE(gates, bank, several, latent=Latent(D, L))
    y = joint(torch.randn(1, 3, 6, D))[0]
    assert y.shape == (2, 3, 6, D)
    joint = experts.MultiGateMoE(gates, layer.bank.float(), several, latent=Latent(D, L))
    given = partial(joint, torch.randn(1, 10, D))  # one stream, two outputs
    router = experts.count_flops_of([joint.router], given)
    assert experts.count_flops(given) == joint.flops(given()[1], (L,)) + router


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Latent(D, D), r"width=8 is invalid: expected an integer in \[1, 7\]"),
        (lambda: Latent(D, 0), "width=0 is invalid"),
        (
            lambda: MoE(
                routers.build("topk", L, E), experts.build("mlp", L, E), latent=Latent(D, L)
            ),
            "router.dim=3 but the bank's is 8",
        ),
        (
            lambda: MoE(
                routers.build("topk", D, E), experts.build("mlp", D, E), latent=Latent(D, L)
            ),
            "latent.width=3 but the bank's dim is 8",
        ),
        (
            lambda: MoE(
                routers.build("topk", D, E), experts.build("conv", L, E), latent=Latent(D, L)
            ),
            r"rows of Conv are \(D, H, W\); use experts of tokens",
        ),
    ],
)
def test_sizes_that_do_not_fit(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
