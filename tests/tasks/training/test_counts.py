"""Counts of routers: summed over a step, given back once, part of a checkpoint."""

import pytest
import torch

from experts import MultiGateMoE, build, mmoe
from routers import Items, Router, Routing, Traits

from ..cases import checkpoint_of, train


class Counting(Router):
    """Counts its items, and keeps the counts it gets back."""

    traits = Traits(learned=False, has_logits=False)
    num_counts = 2

    given: torch.Tensor

    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__(dim, num_experts)
        self.register_buffer("given", torch.zeros(0, 2, dtype=torch.int64))

    def forward(self, items: Items) -> Routing:
        expert = torch.zeros(len(items), 1, dtype=torch.int64)
        weight = torch.ones_like(expert, dtype=items.x.dtype)
        extras = {"counts": torch.tensor([len(items), 1])} if self.training else None
        return Routing.by_item(items, expert, weight, self.num_experts, extras=extras)

    def adapt_from_counts(self, counts: torch.Tensor) -> None:
        self.given = torch.cat([self.given, counts.unsqueeze(0)])


@pytest.mark.parametrize(
    ("accumulate", "batches"), [(1, [1, 1, 1, 1]), (3, [3, 1])], ids=["each batch", "three batches"]
)
def test_counts_of_a_step_add_up(tmp_path, accumulate, batches):
    train(
        tmp_path / "run",
        f"router={__name__}:Counting",
        "trainer.batch_size=300",
        "trainer.max_steps=-1",
        f"trainer.accumulate_grad_batches={accumulate}",
        "moe.capacity=0.5",  # dropped assignments were counted
    )
    held = checkpoint_of(tmp_path / "run")["state_dict"]
    given = held["backbone.blocks.0.moe.router.given"]
    tokens = 16
    assert given.tolist() == [[300 * tokens * n, n] for n in batches]
    assert torch.equal(given, held["backbone.blocks.1.moe.router.given"])
    assert held["adaptation.counts"].tolist() == [0] * 4


def test_checkpoints_hold_no_counts_where_there_are_none(tmp_path):
    train(tmp_path / "run", "router=topk", "trainer.max_steps=1")
    assert "adaptation.counts" not in checkpoint_of(tmp_path / "run")["state_dict"]


def test_of_several_gates_each_gets_its_own_back():
    gates = [Counting(8, 4), Plain(8, 4), Counting(8, 4)]
    layer = MultiGateMoE(gates, build("mlp", 8, 4, hidden=4), mmoe(4, tasks=3))
    _, routing = layer(torch.randn(1, 5, 8))
    assert routing.extras["counts"].tolist() == [5, 1, 5, 1]
    assert layer.router.num_counts == 4
    layer.router.adapt_from_counts(torch.tensor([1, 2, 3, 4]))
    assert [gates[0].given.tolist(), gates[2].given.tolist()] == [[[1, 2]], [[3, 4]]]


class Plain(Router):
    """Counts nothing."""

    traits = Traits(learned=False, has_logits=False)

    def forward(self, items: Items) -> Routing:
        expert = torch.zeros(len(items), 1, dtype=torch.int64)
        return Routing.by_item(items, expert, torch.ones(len(items), 1), self.num_experts)
