"""How many choices go to experts that do nothing, held at a share without a loss."""

import torch
from torch import Tensor

from .._torch.float32_state import Kept
from ..plugins.errors import bad_value


class NullBias(Kept):
    """What is added to the scores of null experts where experts are chosen.

    ``b += u sign(wanted - null choices)``, once per step: the rule of Wang et al. 2024,
    2408.15664, between null experts and real ones.

    Args:
        experts: how many real ones.
        nulls: how many null ones; they are to get their share of all choices.
        rate: ``u``.

    >>> bias = NullBias(experts=4, nulls=4, rate=0.25)
    >>> bias.adapt(bias.tally(torch.tensor([[True, True, False]])))
    >>> bias.value.item()
    -0.25
    """

    value: Tensor

    def __init__(self, experts: int, nulls: int, rate: float) -> None:
        super().__init__()
        if nulls < 1:
            raise bad_value("router.nulls", nulls, "an integer of at least 1")
        if not 0 <= rate < 1:
            raise bad_value("router.rate", rate, "a number from 0 to below 1")
        self.share = nulls / (experts + nulls)
        self.rate = rate
        self.register_buffer("value", torch.zeros(()))

    def tally(self, null: Tensor) -> Tensor:
        """Null choices and all choices, of ``null`` ``(n, K)`` bool."""
        return torch.stack([null.sum(), torch.full_like(null, 1, dtype=torch.int64).sum()])

    def adapt(self, tally: Tensor) -> None:
        """Move after a step with these tallies."""
        null, total = tally
        self.value += self.rate * (self.share * total - null).sign()
