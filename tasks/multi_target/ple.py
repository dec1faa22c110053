"""Progressive layered extraction: experts of each target's own beside shared ones."""

from functools import partial

from torch import Tensor, nn

from experts import GateTopology, cgc, cgc_shared
from routers import OptionError, Routing

from .network import Parts, Trunk


class PLE(Trunk):
    """Levels of experts that targets own and experts that they share, each beside an identity.

    With one level it is customized gate control (CGC).
    Source: Tang et al. 2020 (RecSys, doi 10.1145/3383313.3412236), section 4.

    Args:
        parts: targets, widths, depth, and experts that each target has to itself at a level.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.tasks = len(parts.targets)
        level = partial(parts.layer, (parts.dim,))
        inner = partial(_inner, tasks=self.tasks, own=parts.own)
        outer = partial(_outer, tasks=self.tasks, own=parts.own)
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


def _inner(num_experts: int, *, tasks: int, own: int) -> GateTopology:
    return cgc_shared(num_experts, tasks=tasks, shared=_num_shared(num_experts, tasks, own))


def _outer(num_experts: int, *, tasks: int, own: int) -> GateTopology:
    return cgc(num_experts, tasks=tasks, shared=_num_shared(num_experts, tasks, own))


def _num_shared(num_experts: int, tasks: int, own: int) -> int:
    shared = num_experts - tasks * own
    if own < 1 or shared < 1:
        raise OptionError(
            "task.own",
            own,
            f"an integer of at least 1 that leaves one of moe.num_experts={num_experts} to be "
            f"shared by {tasks} targets",
        )
    return shared
