"""FLOPs and parameters of a router, counted at one stated size."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import torch

from .._router import Router, Traits
from ..plugins.errors import ConfigError
from ..plugins.signature import defaults
from ..routing import Items, Routing

#: Width, experts, experts per item, groups and items per group.
DIM, EXPERTS, K, GROUPS, LENGTH = 256, 64, 2, 2, 64


class Cost(NamedTuple):
    """Cost of a router at ``D=256, E=64, K=2`` on two groups of 64 items.

    ``flops`` are those of the matrix products in a forward pass, per item: a multiply-add is 2
    and element-wise work is not counted. ``parameters`` counts all, learned or not.
    """

    flops: float
    parameters: int


@cache
def cost_of(kind: Callable[..., Router]) -> Cost | None:
    """Count the cost of a router with default options except ``k``; None if it rejects this size.

    >>> import routers
    >>> cost_of(routers.ROUTERS["topk"])
    Cost(flops=32768.0, parameters=16384)
    """
    from torch.utils.flop_counter import FlopCounterMode

    index = torch.arange(GROUPS * LENGTH)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(index), DIM, generator=generator)
    items = Items(x, groups=GROUPS, ids=index, task=index % 2)
    recorded = Routing.by_item(items, x[:, :EXPERTS].topk(K).indices, x[:, :K], EXPERTS)
    items = replace(items, recorded=recorded)
    if getattr(kind, "traits", Traits()).needs_projections:
        projections = torch.randn(EXPERTS, DIM, 4 * DIM, generator=generator)
        items = replace(items, projections=projections)
    options = {"k": K} if "k" in defaults(kind, skip=2) else {}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            router = kind(DIM, EXPERTS, **options)
            router.prepare(index, x)
            with FlopCounterMode(display=False) as counter:
                router.eval()(items)
    except ConfigError:
        return None
    flops = counter.get_total_flops() / len(items)
    return Cost(flops, sum(parameter.numel() for parameter in router.parameters()))
