"""The weighted sum of auxiliary losses over routed layers, in training over a whole step."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from experts import MoE
from routers import Router, Routing, step_sums
from routers.blocks import Float32State, sum_over_ranks

from ..config.losses import WeightedLoss, read_losses


class AuxiliaryLoss(nn.Module):
    """The weighted auxiliary losses of all routed layers, summed.

    In training a routing may cover a share of a batch, and the batch a share of an optimizer
    step. Losses at level ``step`` read sums over the micro-batches and ranks of the step so far.
    If devices divide a batch, losses at level ``batch`` are computed at level ``step`` with sums
    over that batch; losses that are means over items or groups need no sums.

    Args:
        losses: those of each layer: by name a weight, or a mapping of a weight and options.
        layers: the routed layers. They keep the outputs of their experts if a loss reads them.
        devices: number of devices that divide a batch.
    """

    def __init__(
        self,
        losses: Sequence[Mapping[str, Any]],
        layers: Sequence[MoE],
        devices: int = 1,
    ) -> None:
        super().__init__()
        self.losses = [read_losses(own) for own in losses]
        self.layers = list(layers)  # not submodules here
        for layer, own in zip(layers, self.losses, strict=True):
            layer.keep_outputs = any(loss.reads_outputs for loss in own if loss.weight)
        routers = [layer.router for layer in layers]
        divided = [
            [loss for loss in own if devices > 1 and loss.reads("batch")] for own in self.losses
        ]
        self.of_batch = [[loss.at_step() for loss in own] for own in divided]
        self.of_step = [
            [loss for loss in own if loss not in apart]
            for own, apart in zip(self.losses, divided, strict=True)
        ]
        self.batch_sums = StepSums(routers) if any(divided) else None
        read = any(loss.reads("step") for own in self.losses for loss in own)
        self.step_sums = StepSums(routers) if read else None

    def forward(self, routings: Sequence[Routing]) -> Tensor | float:
        """The loss of routings that each cover a whole batch and step."""
        return self._total(self.losses, routings)

    def in_training(self, routings: Sequence[Routing]) -> Tensor | float:
        """The loss of one micro-batch on one rank; call ``finish_step`` after the last one."""
        of_step = routings if self.step_sums is None else self.step_sums(routings)
        total = self._total(self.of_step, of_step)
        if self.batch_sums is not None:
            total = total + self._total(self.of_batch, self.batch_sums(routings))
            self.batch_sums.sums.zero_()
        return total

    def _total(
        self, losses: Sequence[Sequence[WeightedLoss]], routings: Sequence[Routing]
    ) -> Tensor | float:
        found = zip(self.layers, routings, losses, strict=True)
        values = (
            loss(routing, layer) for layer, routing, own in found for loss in own if loss.weight
        )
        return sum(values, 0.0)

    def finish_step(self) -> None:
        """Start the sums of a new optimizer step."""
        if self.step_sums is not None:
            self.step_sums.sums.zero_()


class StepSums(Float32State):
    """Sums of ``routers.step_sums`` over calls, for the routed layer of each router.

    >>> from routers import Items, build
    >>> router = build("uniform", 4, 2, k=1)
    >>> sums = StepSums([router])
    >>> routing = router(Items(torch.zeros(4, 4)))
    >>> [sums([routing])[0].step_statistics[0].tolist() for call in range(2)]
    [[2.0, 2.0], [4.0, 4.0]]
    """

    sums: Tensor

    def __init__(self, routers: Sequence[Router]) -> None:
        super().__init__()
        widest = max((router.num_experts for router in routers), default=1)
        self.register_buffer("sums", torch.zeros(len(routers), 7, widest, dtype=torch.float64))

    def forward(self, routings: Sequence[Routing]) -> list[Routing]:
        """Add these routings; returns them with the sums of their layers so far, over ranks."""
        for total, routing in zip(self.sums, routings, strict=True):
            total[:, : routing.num_experts] += step_sums(routing)
        return [
            replace(routing, step_statistics=total[:, : routing.num_experts])
            for routing, total in zip(routings, sum_over_ranks(self.sums), strict=True)
        ]
