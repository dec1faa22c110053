"""Adaptation of routers, once per optimizer step, to the load of the whole step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from routers import Router, Routing

from .collectives import sum_over_ranks


class Adaptation(nn.Module):
    """Sums loads and counts over an optimizer step and gives them to the routers.

    The sums are saved in checkpoints, so that a resumed run adapts as if never interrupted.
    The routers are not registered as submodules here.
    """

    load: Tensor
    counts: Tensor

    def __init__(self, routers: Sequence[Router]) -> None:
        super().__init__()
        self.routers = list(routers)
        widest = max((router.num_experts for router in routers), default=1)
        self.register_buffer("load", torch.zeros(len(self.routers), widest, dtype=torch.int64))
        zeros = torch.zeros(sum(router.num_counts for router in routers), dtype=torch.int64)
        self.register_buffer("counts", zeros, persistent=len(zeros) > 0)

    @torch.no_grad()
    def observe(self, routings: Sequence[Routing]) -> None:
        """Add the requested load and the counts of a micro-batch."""
        for layer, routing in enumerate(routings):
            self.load[layer, : routing.num_experts] += routing.requested_load
        counts = [r.extras["counts"] for r in routings if "counts" in r.extras]
        if counts:
            self.counts += torch.cat(counts)

    def finish_step(self) -> Tensor:
        """Adapt every router; returns the load of the step over ranks, ``(layers, E)`` int64."""
        load, counts = sum_over_ranks(self.load), sum_over_ranks(self.counts)
        by_router = torch.split(counts, [router.num_counts for router in self.routers])
        for router, own_load, own_counts in zip(self.routers, load, by_router, strict=True):
            router.adapt(own_load[: router.num_experts])
            if router.num_counts:
                router.adapt_from_counts(own_counts)
        self.load.zero_()
        self.counts.zero_()
        return load
