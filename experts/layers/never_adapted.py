"""A warning about a router that should adapt after every step and never does."""

import warnings
from collections.abc import Iterable

from torch import Tensor, nn

from routers import Router

#: Passes in training after which a router that has not adapted is reported.
MAX_PASSES = 100


class NeverAdapted:
    """Warns once about a router that does not adapt although its layer trains.

    Any code may call ``adapt``, so it is seen by its effect: torch counts how often a tensor is
    changed in place, and an optimizer changes parameters, ``adapt`` buffers. These counts are read
    at the first pass and at the last one; a pass between them costs an addition.
    """

    def __init__(self) -> None:
        self.passes = 0
        self.parameters = self.buffers = list[tuple[int, int]]()

    def count_pass(self, layer: nn.Module, router: Router) -> None:
        """Count a pass in training of a layer with this router."""
        self.passes += 1
        if self.passes == 1:
            self.parameters = _versions(layer.parameters())
            self.buffers = _versions(router.buffers())
        elif self.passes == MAX_PASSES and router.adapts:
            trains = _versions(layer.parameters()) != self.parameters
            if trains and _versions(router.buffers()) == self.buffers:
                warnings.warn(
                    f"{type(router).__name__} adapts after every step, and has not adapted in "
                    f"{MAX_PASSES} passes in training: call "
                    "experts.adapt_on_step(optimizer, model) once, before training",
                    stacklevel=2,
                )


def _versions(tensors: Iterable[Tensor]) -> list[tuple[int, int]]:
    return [(id(tensor), tensor._version) for tensor in tensors]
