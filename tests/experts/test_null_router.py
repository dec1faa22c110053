"""Null experts of a router next to zero-computation experts of a bank: MoE++ in parts."""

import torch

import experts
import routers
from experts import MoE


def test_items_that_choose_nothing_get_nothing():
    router = routers.build("null_experts", 4, 2, k=1, nulls=2)
    with torch.no_grad():
        router.gate.weight.zero_()
        router.gate.weight[3, 0] = 1.0  # the last null expert, for a positive first feature
        router.gate.weight[1, 1] = 1.0
    layer = MoE(router, experts.build("mlp", 4, 2))
    y, routing = layer(torch.tensor([[2.0, 0.0, 1.0, 1.0], [0.0, 2.0, 1.0, 1.0]]))
    assert routing.item.tolist() == [1]
    assert not y[0].any()
    assert y[1].any()
    assert layer.flops(routing, (4,)) == layer.bank.flops((4,))[1]


def test_copies_and_constants_are_the_banks():
    parts = ["mlp", {"name": "null", "count": 2, "kinds": ["copy", "constant"]}]
    bank = experts.build("mixed", 4, 4, parts=parts)
    layer = MoE(routers.build("null_experts", 4, 4, k=3, nulls=2), bank)
    x = torch.randn(6, 4)
    y, routing = layer(x)
    assert y.shape == x.shape
    assert bank.flops((4,))[2] == 0  # a copy costs nothing, but counts in the load
    assert routing.num_experts == 4
