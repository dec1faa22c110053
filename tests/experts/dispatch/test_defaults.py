"""Mean outputs that stand in for experts which items are not assigned to."""

import pytest
import torch

from experts import MoE, mix, mix_reference
from experts.dispatch import mix_static
from routers import ConfigError, Items, build

from ..cases import DIM, EXPERTS, bank_of, gradients, items_for, learnable, rows_for, same

pytestmark = pytest.mark.usefixtures("double")


def router_with_means():
    torch.manual_seed(1)
    router = build("default_topk", DIM, EXPERTS).double().eval()
    router.outputs.value.normal_()
    return router


@pytest.mark.parametrize("bank", ["mlp", "gru", "conv"])
def test_engine_is_the_reference(bank):
    router, bank = router_with_means(), bank_of(bank)
    x = rows_for(bank, 6)
    inputs = [x, *learnable(router, bank)]
    for mask in (None, torch.arange(6) != 2):
        items = items_for(bank, x)
        routing = router(Items(items.x, mask=mask))
        inner = torch.arange(x.shape[1]) < 2 if "L" in bank.row_axes else None
        inner = None if inner is None else inner.expand(x.shape[:2])
        fast, slow = (engine(x, routing, bank, inner) for engine in (mix, mix_reference))
        same(fast, slow)
        for a, b in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
            same(a, b)
        if len(bank.row_axes) == 1:
            same(fast, mix_static(x, routing, bank))


def test_every_score_has_a_gradient():
    router, bank = router_with_means(), bank_of("mlp")
    x = rows_for(bank, 1).detach()
    routing = router(Items(x))
    [slope] = torch.autograd.grad(mix(x, routing, bank).square().sum(), routing.logits)
    assert slope.all()


def test_means_follow_outputs_once_per_step_in_training():
    layer = MoE(build("default_topk", DIM, EXPERTS, k=1, decay=0.75), bank_of("mlp")).double()
    x = torch.randn(40, DIM)
    means = layer.router.outputs
    means.value.normal_()
    before = means.value.clone()
    for mode in (True, True, False):  # a second pass, as of recomputed activations, changes nothing
        _, routing = layer.train(mode)(x)
        assert means.value.equal(before)
    layer.train().router.adapt(routing.load)
    for e in range(EXPERTS):
        own = x[routing.item[routing.expert == e]]
        if len(own):
            load = torch.zeros(EXPERTS, dtype=torch.int64)
            load[e] = len(own)
            mean = layer.bank(own, load).mean(0).detach()
            wanted = 0.75 * before[e] + 0.25 * mean
            torch.testing.assert_close(
                means.value[e].double(), wanted.double(), rtol=1e-5, atol=1e-6
            )
        else:
            assert means.value[e].equal(before[e])
    layer.router.adapt(routing.load)
    assert not means.count.any()


def test_dropped_assignments_are_stood_in_for():
    router, bank = router_with_means(), bank_of("mlp")
    x = rows_for(bank, 8).detach()
    routing = router(Items(x))
    limited = routing.limit(0.5)
    assert limited.num_assignments < routing.num_assignments
    same(mix(x, limited, bank), mix_reference(x, limited, bank))


def test_outputs_are_not_kept_as_well():
    layer = MoE(router_with_means(), bank_of("mlp"), keep_outputs=True)
    with pytest.raises(ConfigError, match="through defaults"):
        layer(torch.randn(3, DIM))
