"""The contract of a loss weighting."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from routers.plugins import Registry

from ..targets import Target


class Weighting(nn.Module, ABC):
    """Combines the losses of ``T`` targets into one; its parameters train with the network.

    Takes the targets that the losses belong to; further options are keyword arguments.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__()
        self.num_targets = len(targets)

    @abstractmethod
    def forward(self, losses: Tensor, shared: Tensor) -> Tensor:
        """The combined loss, a scalar, of ``losses`` ``(T,)``.

        ``shared`` is the representation that all targets are predicted from.
        """


WEIGHTINGS = Registry("weighting", Weighting, group="switchyard.weightings", positional=1)
