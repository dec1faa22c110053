"""One network per target: nothing is shared."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from routers import Routing

from ..._task import Batch
from ._base import SHARINGS, Parts, Trunk
from .shared_bottom import build_bottoms


@SHARINGS.register("single")
class Single(Trunk):
    """An encoder and a trunk per target.

    The trunks have as many parameters in total as the trunk of ``mmoe``; the encoders come on
    top.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.bottoms = nn.ModuleList(build_bottoms(parts, len(parts.targets)))

    @classmethod
    def encoder(cls, parts: Parts) -> nn.Module:
        """One encoder per target, ``(T, B, D)``."""
        return Encoders([parts.encoder() for _ in parts.targets])

    def forward(self, shared: Tensor, ids: Tensor | None) -> tuple[Tensor, list[Routing]]:
        """``(T, B, D)``, the encoding of each target, to the same shape."""
        outs = [bottom(x) for bottom, x in zip(self.bottoms, shared, strict=True)]
        return torch.stack(outs), []


class Encoders(nn.Module):
    """Several encoders of the same batch, ``(T, B, D)``."""

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)

    def forward(self, batch: Batch) -> Tensor:
        """Every encoder's representation."""
        return torch.stack([encoder(batch) for encoder in self.encoders])
