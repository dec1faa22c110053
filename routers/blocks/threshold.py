"""A bar that each expert's scores have to pass, and where it lies before anything is known."""

import torch
from torch import Tensor

from .._torch.float32_state import Kept
from ..gates import Gate
from ..plugins.errors import bad_value
from ..routing.items import Items

#: How many items a new gate is tried on.
_ITEMS = 4096


class Threshold(Kept):
    """A running mean ``(E,)``: over all steps at first, exponential from then on.

    Args:
        start: ``(E,)``, what it is until the first step.
        decay: how much of it a step keeps.

    >>> bar = Threshold(torch.tensor([0.5]), decay=0.75)
    >>> for new in (1.0, 0.0, 0.5, 0.5, 0.0):
    ...     bar.follow(torch.tensor([new]))
    >>> bar.value.item()
    0.375
    """

    value: Tensor
    steps: Tensor

    def __init__(self, start: Tensor, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise bad_value("router.decay", decay, "a number from 0 to below 1")
        self.decay = decay
        self.register_buffer("value", start.float())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def follow(self, new: Tensor) -> None:
        """Take a step towards ``new``."""
        self.steps += 1
        self.value += (new - self.value) * (1 / self.steps).clamp_min(1 - self.decay)


@torch.no_grad()
def expected_bar(gate: Gate, dim: int, share: float) -> Tensor:
    """The logit of each expert that a new gate gives a share of all items or more, ``(outputs,)``.

    Items have independent standard normal features, as behind a norm, and are the same always.

    >>> from .gates import build_gate
    >>> gate = build_gate("linear", 4, 1)
    >>> gate.weight.data.fill_(1.0).tolist()  # logits of deviation 2
    [[1.0, 1.0, 1.0, 1.0]]
    >>> round(expected_bar(gate, 4, 0.1587).item())
    2
    """
    x = torch.randn(_ITEMS, dim, generator=torch.Generator().manual_seed(0), device="cpu")
    device = next(gate.parameters(), x).device
    logits = gate(Items(x.to(device)))
    if not logits.std(0).all():
        raise bad_value(
            "router.gate",
            "a gate that scores all items alike",
            "one that tells them apart from the start, for no threshold parts equal scores",
            "Start its parameters with some spread, or choose another gate",
        )
    return logits.t().topk(max(1, round(share * _ITEMS))).values[:, -1]
