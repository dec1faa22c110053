"""One expert per view of a sample, such as image, text and sound."""

from functools import partial

from torch import Tensor, nn

from experts import views
from routers import ConfigError, Routing

from ._base import SHARINGS, Parts, Trunk


@SHARINGS.register("views")
class Views(Trunk):
    """Each expert works on one view of a sample; a gate that sees all views weighs them.

    All targets share the gate, so of three experts with two chosen one rests. Targets read
    the output of the chosen experts alone.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        if not parts.views:
            raise ConfigError(
                "task.sharing=views: this task has no views; choose another task.sharing, or "
                "task=multitask with task.data.views={NAME: [COLUMN, …], …}"
            )
        if parts.depth != 1:
            raise ConfigError(
                f"task.depth={parts.depth} is invalid: expected 1 with task.sharing=views"
            )
        gate = partial(views, num_views=parts.views)
        self.norm = nn.LayerNorm(parts.dim)
        self.layer = parts.layer((parts.dim,), gate)

    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(V + 1, B, D)`` to ``(1, B, D)``."""
        x, routing = self.layer(self.norm(shared), ids=ids)
        return x, [routing]
