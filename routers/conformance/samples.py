"""Routings with logits, and layers that return them, for the checks of losses and metrics."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..gates import ExpertRows
from ..routing import Items, Routing

#: Items, groups and experts of a sample.
ITEMS, GROUPS, EXPERTS = 12, 3, 5


def random_logits(seed: int = 0) -> Tensor:
    """Logits ``(N, E)`` in float64 that ask for a gradient."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(ITEMS, EXPERTS, generator=generator, dtype=torch.float64)
    return logits.requires_grad_()


def even_logits() -> Tensor:
    """Logits ``(10, E)`` that choose all experts equally often, and all but equally sure."""
    item = torch.arange(2 * EXPERTS)
    logits = torch.zeros(len(item), EXPERTS, dtype=torch.float64)
    logits[item, item % EXPERTS] = 2e-9
    logits[item, (item + 1) % EXPERTS] = 1e-9
    return logits.requires_grad_()


def routing_of(logits: Tensor, mask: Tensor | None = None, groups: int = 1) -> Routing:
    """The two best experts of every item, weighted by probability, with all fields and extras.

    Outputs of experts, too, are functions of the logits, and so is the task of an item.

    Args:
        logits: ``(N, E)``.
        mask: ``(N,)`` bool, False for padding.
        groups: of equal length.
    """
    task = (logits.detach().sum(1) > 0).long()
    items = Items(torch.zeros_like(logits), groups, mask=mask, task=task)
    probs = logits.softmax(-1)
    expert = logits.detach().topk(2).indices
    real = probs if mask is None else probs[mask]
    extras = {
        "sparsity_coefficient": torch.tensor(0.5, dtype=logits.dtype),
        "divergence": logits.square().sum(-1),
        "surplus": logits.sum(-1),
        "imitator": logits,
        "imitated": logits.detach().argmax(-1),
        "selectors": torch.stack([probs, (logits / 2).softmax(-1)], 1) * 0.9,
    }
    routing = Routing.by_item(
        items,
        expert,
        probs.gather(1, expert),
        logits.shape[1],
        logits=logits,
        expected_load=2 * real.sum(0),
        extras=extras,
    )
    score = logits[routing.item, routing.expert]
    outputs = torch.stack([score.sin(), score.cos(), score + logits.sum(1)[routing.item]], 1)
    return replace(routing, outputs=outputs)


@dataclass(frozen=True)
class SampleLayer:
    """A router with a linear gate and a bank at once, whose weights are given."""

    rows: Tensor
    training: bool = False

    @property
    def router(self) -> "SampleLayer":
        return self

    @property
    def bank(self) -> "SampleLayer":
        return self

    def expert_rows(self) -> list[ExpertRows]:
        """The rows, ``(E, D)``."""
        return [ExpertRows(self.rows, tuple(range(len(self.rows))))]

    def projections(self) -> Tensor:
        """``(E, D, 2)``."""
        return torch.stack([self.rows.sin(), (2 * self.rows).cos()], 2)


def layer_of(routing: Routing) -> SampleLayer:
    """A layer with weights that are functions of the logits of real items, in any order of both."""
    assert routing.logits is not None
    logits = routing.unpadded(routing.logits)
    return SampleLayer(logits.t() @ logits / max(len(logits), 1))


def padding() -> Tensor:
    """``(N,)`` bool, False for two items of the first group and one of the last."""
    mask = torch.ones(ITEMS, dtype=torch.bool)
    mask[[1, 2, ITEMS - 1]] = False
    return mask
