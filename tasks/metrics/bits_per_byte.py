"""How well bytes are predicted, in bits."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from ..text.bytes import UNSCORED


class BitsPerByte(Metric):
    """Sum of ``-log2 p`` over all that is scored per scored byte, exact over any split in batches.

    What is scored is bytes, or tokens of several bytes: the measure compares both.

    >>> metric = BitsPerByte()
    >>> metric.update(torch.zeros(1, 2, 256), torch.tensor([[7, UNSCORED]]))
    >>> round(metric.compute().item(), 6)
    8.0
    >>> metric.reset()
    >>> metric.update(torch.zeros(1, 2, 16), torch.tensor([[7, 3]]), torch.tensor([[3, 5]]))
    >>> round(metric.compute().item(), 6)  # 8 bits for 8 bytes
    1.0
    """

    full_state_update = False
    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor, widths: Tensor | None = None) -> None:
        """Add ``(B, L, V)`` logits of ``(B, L)`` targets, ``UNSCORED`` where one is not scored.

        ``widths`` ``(B, L)`` are their bytes; 1 each if None.
        """
        wide = torch.promote_types(logits.dtype, torch.float32)
        loss = F.cross_entropy(
            logits.to(wide).flatten(0, 1), target.flatten(), ignore_index=UNSCORED, reduction="none"
        )
        self.total += loss.double().sum()
        scored = target != UNSCORED
        self.count += (scored if widths is None else widths * scored).sum()

    def compute(self) -> Tensor:
        """Bits per byte; NaN where nothing was scored."""
        return self.total / self.count / math.log(2)
