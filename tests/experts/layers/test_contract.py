"""What a layer gives to routers and losses: earlier routings, weights and outputs of experts."""

import pytest
import torch

import experts
import routers
from experts import MoE, static_copy
from routers import ConfigError, Items, Router, Routing, Traits
from routers.blocks import require_projections


class ByProjections(Router):
    """The expert whose first projection of an item is longest."""

    traits = Traits(needs_projections=True, equivariant=True, has_logits=False)

    def forward(self, items: Items) -> Routing:
        read = require_projections(items, self.num_experts, "by_projections")
        norms = torch.einsum("nd,edp->nep", items.x, read).norm(dim=-1)
        expert = norms.argmax(-1, keepdim=True)
        return Routing.by_item(items, expert, norms.softmax(-1).gather(1, expert), read.shape[0])


@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_experts_offer_their_first_projection(bank):
    layer = MoE(ByProjections(6, 3), experts.build(bank, 6, 3, hidden=4)).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    routing = layer(x)[1]
    first = (layer.bank.up if bank == "mlp" else layer.bank.gate_and_up)[:, :, :4]
    norms = torch.stack([(x.view(10, 6) @ each).norm(dim=1) for each in first], 1)
    assert routing.expert.tolist() == norms.argmax(1).tolist()
    routing.weight.sum().backward()
    assert (layer.bank.up if bank == "mlp" else layer.bank.gate_and_up).grad.any()
    torch.testing.assert_close(static_copy(layer)(x)[0], layer.eval()(x)[0])


def test_experts_without_a_first_projection_are_refused():
    with pytest.raises(ConfigError, match="Null has no method projections; use experts"):
        MoE(ByProjections(6, 3), experts.build("null", 6, 3))
    layer = MoE(ByProjections(6, 3), experts.build("mlp", 6, 3))
    with pytest.raises(ConfigError, match="Null has no method projections"):
        layer.bank = experts.build("null", 6, 3)


@pytest.mark.parametrize("bank", ["mlp", "low_rank", "gru"])
@pytest.mark.parametrize("router", ["topk", "expert_choice", "soft_mixture"])
def test_outputs_are_kept_by_assignment(router, bank):
    made = experts.build(bank, 6, 3)
    layer = MoE(routers.build(router, 6, 3), made, capacity=0.7, keep_outputs=True).double()
    rows = (4, 6) if made.row_axes == ("L", "D") else (6,)
    x = torch.randn(7, *rows, dtype=torch.float64, requires_grad=True)
    y, routing = layer(x)
    loads = torch.eye(3, dtype=torch.int64)
    each = [
        made(x[i : i + 1], loads[e])[0] for i, e in zip(routing.item, routing.expert, strict=True)
    ]
    torch.testing.assert_close(routing.outputs, torch.stack(each))
    weight = routing.weight.view(-1, *[1] * len(rows))
    wanted = torch.zeros_like(x).index_add(0, routing.item, weight * routing.outputs)
    torch.testing.assert_close(y, wanted)
    keep = torch.arange(len(routing.item)) % 2 == 0
    assert torch.equal(routing.drop(keep).outputs, routing.outputs[keep])
    (kept,) = torch.autograd.grad(y.square().sum(), x)
    layer.keep_outputs = False
    plain, routing = layer(x)
    assert routing.outputs is None
    torch.testing.assert_close(torch.autograd.grad(plain.square().sum(), x)[0], kept)


def test_slots_have_no_outputs_of_items():
    layer = MoE(routers.build("soft_moe", 6, 3), experts.build("mlp", 6, 3), keep_outputs=True)
    with pytest.raises(ConfigError, match="keep_outputs: the routing is through slots"):
        layer(torch.randn(2, 4, 6))


def test_several_gates_keep_outputs_too():
    gates = [routers.build("topk", 6, 3, k=2) for _ in range(2)]
    bank, topology = experts.build("mlp", 6, 3), experts.mmoe(3, tasks=2)
    layer = experts.MultiGateMoE(gates, bank, topology, keep_outputs=True)
    y, routing = layer(torch.randn(1, 4, 6))
    parts = routing.weight.unsqueeze(-1) * routing.outputs.unsqueeze(1)
    wanted = torch.zeros(4, 2, 6).index_add(0, routing.item, parts)
    torch.testing.assert_close(y, wanted.transpose(0, 1))


def test_earlier_routings_have_as_many_items():
    seen = []
    layer = MoE(routers.build("topk", 6, 3), experts.build("mlp", 6, 3))
    layer.router.register_forward_pre_hook(lambda _, args: seen.append(args[0].earlier))
    first = layer(torch.randn(2, 4, 6))[1]
    layer(torch.randn(2, 4, 6), earlier=[first])
    assert seen == [(), (first,)]
    with pytest.raises(ConfigError, match=r"earlier\[0\] has the routes of 8 items: expected N=6"):
        layer(torch.randn(2, 3, 6), earlier=[first])
