"""Top-K in which mean outputs stand in for the experts that are not selected."""

from dataclasses import replace

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import Float32State, check_k, softmax_weights, top_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Defaults, Items, OutputMeans, Routing


@ROUTERS.register("default_topk")
class DefaultTopK(Router):
    """Each item selects K experts; means of earlier outputs stand in for all others.

    ``y = sum_{e in S} p_e FFN_e(x) + sum_{e not in S} p_e m_e`` with ``p = softmax(h)`` and
    ``S = topk(h)``: the gradient of every score counts, while K experts are run. ``m_e`` is a
    running mean of the outputs of expert ``e``, initially 0, which each optimizer step updates by
    ``m_e = decay m_e + (1 - decay) mean of the step``; experts without items keep theirs. Means are
    used in evaluation as well.

    Source: Default MoE, Panda et al. 2025, 2504.12463, from its abstract and a summary. There the
    means of a pass already count in that pass; the decay is ours.

    Args:
        k: experts per item.
        decay: weight of the previous mean in an update, in [0, 1).

    >>> router = DefaultTopK(2, 3, decay=0.5)
    >>> router.outputs.record(torch.tensor([1, 1]), torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    >>> router.adapt(torch.tensor([0, 2, 0]))
    >>> router.outputs.means.tolist()
    [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    """

    traits = Traits(convex=False)
    search_space = {"k": [1, 2, 4], "decay": [0.9, 0.99]}
    default_losses = {"switch": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        decay: float = 0.9,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if not 0 <= decay < 1:
            raise OptionError("decay", decay, "a number in [0, 1)")
        self.k = k
        self.gate = self.build_gate(gate)
        self.outputs = RunningOutputs(num_experts, dim, decay)

    def forward(self, items: Items) -> Routing:
        logits = self.gate(items)
        expert = top_k(logits, self.k)
        weight = softmax_weights(self.gate.pick(items, logits, expert), logits)
        routing = Routing.by_item(items, expert, weight, self.num_experts, logits=logits)
        return replace(routing, execution=Defaults(self.outputs))

    def adapt(self, load: Tensor) -> None:
        if self.training:
            self.outputs.step()


class RunningOutputs(Float32State, OutputMeans):
    """Running means of outputs, updated once per optimizer step.

    Sums of the step so far are kept apart, so that a pass repeated for its gradients uses the
    same means and changes no mean of the step.
    """

    value: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, num_experts: int, dim: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("value", torch.zeros(num_experts, dim))
        self.register_buffer("total", torch.zeros(num_experts, dim), persistent=False)
        self.register_buffer("count", torch.zeros(num_experts), persistent=False)

    @property
    def means(self) -> Tensor:
        return self.value

    @torch.no_grad()
    def record(self, expert: Tensor, outputs: Tensor) -> None:
        if self.training:
            self.total.index_add_(0, expert, outputs.to(self.total.dtype))
            self.count.index_add_(0, expert, torch.ones_like(expert, dtype=self.count.dtype))

    def step(self) -> None:
        """Update the means by the outputs recorded since the last step."""
        used = self.count > 0
        mean = self.total[used] / self.count[used].unsqueeze(1)
        self.value[used] = self.decay * self.value[used] + (1 - self.decay) * mean
        self.total.zero_()
        self.count.zero_()
