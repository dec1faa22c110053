"""What balance terms of a whole optimizer step read, summed over its micro-steps."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from routers import Router, Routing, step_sums


class StepSums(nn.Module):
    """Adds up ``routers.step_sums`` of every routed layer until it is told that a step is over.

    Args:
        routers: those of the layers.

    >>> from routers import Items, build
    >>> router = build("uniform", 4, 2, k=1)
    >>> sums = StepSums([router])
    >>> routing = router(Items(torch.zeros(4, 4)))
    >>> sums([routing])[0, 0].tolist(), sums([routing])[0, 0].tolist()
    ([2.0, 2.0], [4.0, 4.0])
    """

    sums: Tensor

    def __init__(self, routers: Sequence[Router]) -> None:
        super().__init__()
        widest = max((router.num_experts for router in routers), default=1)
        self.register_buffer("sums", torch.zeros(len(routers), 5, widest, dtype=torch.float64))

    def forward(self, routings: Sequence[Routing]) -> Tensor:
        """The sums so far, ``(layers, 5, E)``, with these routings among them."""
        for total, routing in zip(self.sums, routings, strict=True):
            total[:, : routing.num_experts] += step_sums(routing)
        return self.sums.clone()

    def reset(self) -> None:
        """The step is over."""
        self.sums.zero_()
