"""A temperature that falls as training goes on."""

import math

import torch
from torch import Tensor, nn

from ..plugins.errors import bad_value

#: The least temperature: float32 scores over smaller ones overflow, and softmax is NaN then.
LEAST = 1e-30


class Annealed(nn.Module):
    """``max(floor, first exp(-rate t))`` after ``t`` steps (Jang et al. 2017, section 2.2).

    Args:
        first: the temperature at the start.
        floor: where it stops falling.
        rate: how fast it falls, per step; 0 keeps it.

    >>> temperature = Annealed(1.0, floor=0.5, rate=0.1)
    >>> temperature.fall()
    >>> round(temperature.value.item(), 4)
    0.9048
    """

    steps: Tensor

    def __init__(self, first: float, floor: float, rate: float) -> None:
        super().__init__()
        if not LEAST <= first < math.inf:
            raise bad_value("router.temperature", first, f"a finite number of at least {LEAST}")
        if not LEAST <= floor <= first:
            allowed = f"a number of at least {LEAST}, at most router.temperature={first}"
            raise bad_value("router.floor", floor, allowed)
        if not 0 <= rate < math.inf:
            raise bad_value("router.rate", rate, "a finite number of at least 0")
        self.first, self.floor, self.rate = first, floor, rate
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def value(self) -> Tensor:
        """The temperature now, a scalar in float64."""
        return (self.first * torch.exp(-self.rate * self.steps.double())).clamp_min(self.floor)

    def fall(self) -> None:
        """Take a step."""
        self.steps += 1
