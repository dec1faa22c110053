"""A weight of a loss that follows a goal."""

import torch
from torch import Tensor

from .._torch.float32_state import Kept
from ..plugins.errors import bad_value


class Price(Kept):
    """What a unit of gate mass costs: a factor up or down at every step, within bounds.

    Source: ReMoE, Wang et al. 2024, 2412.14711, section 3.3.

    Args:
        start: least price, and the first; its inverse is the greatest.
        alpha: the factor.

    >>> price = Price(0.5, 2.0)
    >>> price.follow(excess=3)
    >>> price.value.item()
    1.0
    """

    value: Tensor

    def __init__(self, start: float, alpha: float) -> None:
        super().__init__()
        if not 1 < alpha <= 10:
            raise bad_value("router.alpha", alpha, "a number above 1, at most 10")
        if not 0 < start < 1:
            raise bad_value("router.start", start, "a number between 0 and 1")
        self.start = start
        self.alpha = alpha
        self.register_buffer("value", torch.tensor(float(start)))

    def follow(self, excess: float) -> None:
        """Rise where there is more than there should be, fall where there is less."""
        sign = (excess > 0) - (excess < 0)
        self.value.mul_(self.alpha**sign).clamp_(self.start, 1 / self.start)
