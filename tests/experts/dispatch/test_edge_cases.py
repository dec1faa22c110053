"""Odd cases: a single item, scores that are not finite, products that are added."""

import pytest
import torch

import experts
from experts import MoE, mix
from routers import Items, Routing
from routers.blocks import top_k, top_k_unsorted

from ...router_samples import SELECTING, by_item
from ..cases import (
    EXPERTS,
    bank_of,
    call,
    gradients,
    learnable,
    plain_mix,
    planned,
    router_of,
    rows_for,
    same,
)

BY_ITEM = [name for name in SELECTING if by_item(name)]


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("base", [None, 0, 8])
@pytest.mark.parametrize("router", BY_ITEM)
def test_a_single_item(router, base):
    """Its row of assignments is one item expanded, and a kernel wants it laid out."""
    layer = MoE(router_of(router), bank_of("mlp"))
    x = rows_for(layer.bank, 1)
    inputs = [x, *learnable(layer)]
    with planned(base):
        y, routing = call(layer, x)
        slow = plain_mix(x, routing, layer.bank)
        same(y, slow)
        for a, b in zip(gradients(y, inputs), gradients(slow, inputs), strict=True):
            same(a, b)


@pytest.mark.parametrize("bank", experts.available())
@pytest.mark.parametrize("count", [0, 3])
def test_items_without_a_choice_get_zero(bank, count):
    bank = bank_of(bank)
    x = rows_for(bank, count)
    none = torch.zeros(count, 0)
    routing = Routing.by_item(Items(bank.pool(x)), none.long(), none, EXPERTS)
    y = mix(x, routing, bank)
    assert y.shape == x.shape
    assert not any(given.any() for given in [y, *gradients(y, [x, *learnable(bank)])])


@pytest.mark.parametrize("choose", [top_k, top_k_unsorted])
def test_two_of_scores_with_fewer_than_two_finite(choose):
    for scores in ([0.0, -torch.inf], [-torch.inf, 0.0, -torch.inf], [-torch.inf] * 5):
        assert len(set(choose(torch.tensor(scores), 2).tolist())) == 2


def test_backward_of_a_dense_mixture_is_counted():
    bank = bank_of("mlp", 5, 3, hidden=4)
    x, weight = torch.randn(11, 3).requires_grad_(), torch.randn(11, 5).requires_grad_()

    def both():
        mix(x, Routing.by_mask(Items(x), weight), bank).sum().backward()

    assert experts.count_flops(both) == 3 * 11 * sum(bank.flops((3,)))


def test_backward_of_tails_is_counted():
    """Half the rows lie in the batch, half in one tail: nothing is padding."""
    bank = bank_of("mlp", 1, 4, hidden=8)
    x = torch.randn(16, 4).requires_grad_()
    routing = Routing.by_item(Items(x), torch.zeros(16, 1).long(), torch.ones(16, 1), 1)
    with planned(8):
        ran = experts.count_flops(lambda: mix(x, routing, bank).sum().backward())
    assert ran == 3 * 16 * bank.flops((4,))[0]
