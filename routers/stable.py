"""StableMoE: a router that learns, is distilled into a table of ids, and stays as it is."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._router import ROUTERS, Router, Traits
from .blocks import require_ids, softmax, taken_from, top_k
from .gates import GateSpec, take_outputs
from .plugins import OptionError, rebuilt
from .routing import Items, Routing


@ROUTERS.register("stable")
class Stable(Router):
    """One expert per item, chosen by a gate at first and by a fixed table of ids later on.

    For ``learn_steps`` steps ``e = argmax h`` in training, and a second router, which reads ids
    only, learns to choose the same: ``argmax_e c_e . d[id]``, by the loss ``imitation``. Then its
    choices become a table, ``e = table[id]``, which does not change again: an item that once
    trained an expert is processed by it. Evaluation uses the second router or the table. The
    weight is ``sigma(h_e)`` throughout, so that the gate continues to learn by how much; in the
    second stage neither ``imitation`` nor balance losses of ``probs`` have a gradient.

    Source: StableMoE, Dai et al. 2022, 2204.08396, and its public code, from which the weight of
    ``imitation``, the width and a first stage of a tenth of all steps are. The paper has its own
    balance loss where this has ``switch``, and adds ``(1 - sigma(h_e)) x`` to the output.

    Args:
        learn_steps: optimizer steps of the first stage.
        buckets: ids are reduced modulo this.
        width: size of the vectors ``d`` and ``c``.
        gate: scores the experts.

    >>> router = Stable(4, 8, learn_steps=1)
    >>> items = Items(torch.randn(3, 4), ids=torch.tensor([5, 5, 5]))
    >>> router.adapt(torch.ones(8))
    >>> len(set(router(items).expert.tolist()))
    1
    """

    traits = Traits(convex=False, needs_ids=True)
    search_space = {"learn_steps": [50, 200, 1000]}
    default_losses = {"switch": 0.01, "imitation": 0.3}

    steps: Tensor
    table: Tensor

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        learn_steps: int = 200,
        buckets: int = 4096,
        width: int = 50,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        for name, value in (("learn_steps", learn_steps), ("buckets", buckets), ("width", width)):
            if value < 1:
                raise OptionError(name, value, "an integer >= 1")
        self.learn_steps = learn_steps
        self.gate = self.build_gate(gate)
        self.words = nn.Parameter(torch.randn(buckets, width))
        self.centroids = nn.Parameter(torch.randn(num_experts, width) / width**0.5)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("table", torch.zeros(buckets, dtype=torch.int64))

    def forward(self, items: Items) -> Routing:
        ids = require_ids(items, "stable") % len(self.table)
        logits, by_id = self.gate(items), self.distilled(ids).to(items.x.dtype)
        learned, probs = top_k(logits, 1), softmax(logits)
        fixed = self.steps >= self.learn_steps
        expert = torch.where(fixed, self.table[ids].unsqueeze(1), top_k(by_id, 1))
        if self.training:
            expert = torch.where(fixed, expert, learned)
        probs = torch.where(fixed, probs.detach(), probs)
        by_id = torch.where(fixed, by_id.detach(), by_id)
        extras = {"imitator": by_id, "imitated": learned.squeeze(1)}
        return Routing.by_item(
            items,
            expert,
            self.gate.pick(items, logits, expert).sigmoid(),
            self.num_experts,
            logits=logits,
            probs=probs,
            extras=extras,
        )

    def distilled(self, ids: Tensor) -> Tensor:
        """Scores by ids, ``(N,)`` to ``(N, E)``."""
        return F.linear(F.embedding(ids, self.words), self.centroids)

    @torch.no_grad()
    def adapt(self, load: Tensor) -> None:
        if not self.training:
            return
        self.steps += 1
        if self.steps == self.learn_steps:
            every = torch.arange(len(self.table), device=self.table.device)
            self.table.copy_(top_k(self.distilled(every), 1).squeeze(1))

    @torch.no_grad()
    def take_experts(self, index: Sequence[int], heirs: Sequence[int] | None = None) -> "Stable":
        new = rebuilt(self, num_experts=len(index)).to(self.words).train(self.training)
        new.gate = take_outputs(self.gate, index)
        new.words.copy_(self.words)
        new.centroids.copy_(self.centroids[list(index)])
        new.steps.copy_(self.steps)
        new.table.copy_(taken_from(self.table, self.num_experts, index, heirs))
        return new
