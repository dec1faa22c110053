"""Cosine gate."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugins import OptionError
from ..routing import Items
from ._base import GATES, Gate


@GATES.register("cosine")
class Cosine(Gate):
    """``h_e = cos(P x, c_e) / t`` with a learned temperature (X-MoE).

    X-MoE (Chi et al. 2022, 2204.09179) projects to a low width; ``project=0`` omits the
    projection, as in Soft MoE (2308.00951).

    Args:
        project: width of the projection ``P``; 0 for none.
        temperature: initial ``t``, > 0.

    >>> gate = Cosine(4, 2, project=0, temperature=0.5)
    >>> bool(gate(Items(torch.randn(8, 4))).abs().max() <= 2.0 + 1e-5)
    True
    """

    def __init__(
        self, dim: int, outputs: int, *, project: int = 16, temperature: float = 0.07
    ) -> None:
        super().__init__()
        if project < 0:
            raise OptionError("project", project, "an integer >= 0; 0 for none")
        if not 0 < temperature < math.inf:
            raise OptionError("temperature", temperature, "a finite number > 0")
        width = project or dim
        self.project = nn.Parameter(torch.randn(width, dim) * dim**-0.5) if project else None
        self.centroid = nn.Parameter(torch.randn(outputs, width) * width**-0.5)
        self.log_temperature = nn.Parameter(torch.tensor([float(temperature)]).log())
        self.register_load_state_dict_pre_hook(_with_one_axis)  # type: ignore[no-untyped-call]

    def forward(self, items: Items) -> Tensor:
        x = items.x
        if self.project is not None:
            x = F.linear(x, self.project.to(x.dtype))
        directions = F.normalize(self.centroid.to(x.dtype), dim=-1)
        cosines = F.linear(F.normalize(x, dim=-1), directions)
        return cosines * (-self.log_temperature.to(x.dtype)).exp()


def _with_one_axis(_: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """Give the temperature of an older state dict its axis: it was of shape ``()``."""
    name = f"{prefix}log_temperature"
    if name in state and not state[name].dim():
        state[name] = state[name].reshape(1)
