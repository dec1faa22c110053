"""The contract of a sharing: how several targets share a network."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from routers import Routing
from routers.plugins import Registry

from ..._task import Layer
from ..targets import Target


@dataclass(frozen=True)
class Parts:
    """Components and widths of a network for several targets.

    Attributes:
        encoder: makes a module from a batch to its representation: ``(B, D)``, or ``(V + 1, B, D)``
            for ``V`` views of it and, last, all of them together.
        layer: builds routed layers.
        targets: ``T`` of them.
        dim: ``D``.
        depth: layers of the trunk.
        views: ``V``; 0 where the encoder has none.
        tower: hidden width of the towers.
        dropout: probability of zeroing what a tower reads.
    """

    encoder: Callable[[], nn.Module]
    layer: Layer
    targets: tuple[Target, ...]
    dim: int
    depth: int
    views: int
    tower: int
    dropout: float


class Trunk(nn.Module, ABC):
    """Maps the representation of a batch to one representation per target.

    Takes the ``Parts`` of the network; further options are keyword arguments.
    """

    @classmethod
    def encoder(cls, parts: Parts) -> nn.Module:
        """The module from a batch to the representation that the trunk reads."""
        return parts.encoder()

    @abstractmethod
    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(T, B, D)``, or a shape that broadcasts to it, and the routings.

        ``shared`` is what ``encoder`` returns; ``ids`` ``(B,)`` are the input of hash routing.
        """


SHARINGS = Registry("sharing", Trunk, group="switchyard.sharings", positional=1)
