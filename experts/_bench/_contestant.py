"""What takes part in a race: a layer, how it is called and what it computes."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ._shapes import Shape


class LeftOutError(Exception):
    """A contestant that does not run at this shape or here; the message says why."""


def as_drawn(batch: Tensor) -> Tensor:
    """The batch itself, for contestants that take it as it was drawn."""
    return batch


@dataclass(frozen=True)
class Contestant:
    """One layer in a race.

    Args:
        label: what tables and plots call it.
        module: holds the parameters.
        forward: ``x (N, D)`` to ``y (N, D)``, router included.
        flops: forward FLOPs per token of the experts at work, routers and slots' averages not
            counted; a multiply-add is 2.
        note: what differs from the others, for the reader of a table.
        prepare: makes its own input of a round's batch, outside the timed part.
        patience: seconds; one whose steps all take longer runs a few rounds only.
    """

    label: str
    module: nn.Module
    forward: Callable[[Tensor], Tensor]
    flops: int
    note: str = ""
    prepare: Callable[[Tensor], Tensor] = as_drawn
    patience: float = math.inf


class FailedError(Exception):
    """A layer without which there is nothing to report; the message says which and how."""


#: Builds a contestant for a shape; raises ``LeftOutError`` where it cannot take part.
Factory = Callable[[Shape, torch.dtype, torch.device], Contestant]
