"""Routing by a given map from tasks to experts, with some weight for all others."""

import math

import torch
from torch import Tensor

from ._router import ROUTERS
from .mapped import Mapped, TaskTable
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("soft_mapped")
class SoftMapped(Mapped):
    """All experts process each item; those of its task, language or domain count for more.

    ``y = sum_e w_e FFN_e(x)`` with ``w`` proportional to 1 for the experts of the task and to
    ``inactive`` for the others. A warm-up starts near equal weights ``1 / E`` and changes them by
    half a cosine over the first optimizer steps. Nothing is learned.

    Source: SpecDrop, Yang et al. 2026, 2608.04084, in the form of the authors' code, where the sum
    of the weights is fixed; here it is 1. Its weights by the frequency of a category are left out.

    Args:
        dim: ``D``, unused.
        table: as in ``mapped``.
        inactive: weight of an expert of other tasks relative to one of the item's, in (0, 1).
        warmup: optimizer steps of the warm-up; 0 for none.

    >>> router = SoftMapped(4, 3, inactive=0.25)
    >>> routing = router(Items(torch.zeros(1, 4), task=torch.tensor([2])))
    >>> [round(w, 4) for w in routing.weight.tolist()]
    [0.1667, 0.1667, 0.6667]
    """

    search_space = {"inactive": {"low": 0.01, "high": 0.5, "log": True}}

    steps: Tensor

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        table: TaskTable | None = None,
        inactive: float = 0.1,
        warmup: int = 0,
    ) -> None:
        super().__init__(dim, num_experts, table=table)
        if not 0 < inactive < 1:
            raise OptionError("inactive", inactive, "a number in (0, 1)")
        if warmup < 0:
            raise OptionError("warmup", warmup, "an integer >= 0")
        self.inactive = inactive
        self.warmup = warmup
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, items: Items) -> Routing:
        own = self.experts_of(items, "soft_mapped")
        target = self.inactive + (1 - self.inactive) * own.to(items.x.dtype)
        target = target / target.sum(1, keepdim=True)
        even = 1 / self.num_experts
        weight = even + (target - even) * self.progress.to(items.x.dtype)
        return Routing.by_mask(items, weight, probs=weight)

    @property
    def progress(self) -> Tensor:
        """How far the warm-up is, in (0, 1]: the next step is one of ``warmup + 1``."""
        done = (self.steps.double() + 1) / (self.warmup + 1)
        return 0.5 - 0.5 * (math.pi * done.clamp_max(1)).cos()

    def adapt(self, load: Tensor) -> None:
        if self.training:
            self.steps += 1
