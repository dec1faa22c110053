"""Progressive layered extraction: experts per target next to shared ones."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from experts import GateTopology, cgc, cgc_shared
from routers import OptionError, Routing

from ._base import SHARINGS, Parts, Trunk


@SHARINGS.register("ple")
class PLE(Trunk):
    """Levels of experts owned by a target and shared experts, with residual connections.

    With one level it is customized gate control (CGC).
    Source: Tang et al. 2020 (RecSys, doi 10.1145/3383313.3412236), section 4.

    Args:
        own: experts of each target at a level; the others are shared.
    """

    def __init__(self, parts: Parts, *, own: int = 1) -> None:
        super().__init__()
        self.tasks = len(parts.targets)
        level = partial(parts.layer, (parts.dim,))
        inner = partial(_gates, cgc_shared, tasks=self.tasks, own=own)
        outer = partial(_gates, cgc, tasks=self.tasks, own=own)
        self.norms = nn.ModuleList(nn.LayerNorm(parts.dim) for _ in range(parts.depth))
        self.levels = nn.ModuleList(level(inner) for _ in range(parts.depth - 1))
        self.levels.append(level(outer))

    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(B, D)`` to ``(T, B, D)``."""
        x = shared.expand(self.tasks + 1, *shared.shape)
        routings = []
        for norm, level in zip(self.norms, self.levels, strict=True):
            update, routing = level(norm(x), ids=ids)
            x = x[: len(update)] + update  # the last level has no gate for the shared stream
            routings.append(routing)
        return x, routings


def _gates(
    wiring: Callable[..., GateTopology], num_experts: int, *, tasks: int, own: int
) -> GateTopology:
    shared = num_experts - tasks * own
    if own < 1 or shared < 1:
        raise OptionError(
            "own",
            own,
            f"an integer >= 1 that leaves one of moe.num_experts={num_experts} to be shared by "
            f"{tasks} targets",
        )
    return wiring(num_experts, tasks=tasks, shared=shared)
