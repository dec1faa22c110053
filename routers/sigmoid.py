"""Affinities judged one by one, balanced by a bias instead of a loss."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ._router import ROUTERS
from .blocks import UPDATE_RULES, SigmoidTopKBase, top_k


@ROUTERS.register("sigmoid")
class Sigmoid(SigmoidTopKBase):
    """Every item takes the K experts of largest sigmoid score plus a bias that evens out the load.

    ``S = topk(sigma(h) + b)``, weighted by ``sigma(h)[S] / sum sigma(h)[S]``: the bias selects and
    never weighs. It moves once per training step and needs no balance loss.

    Source: DeepSeek-V3 2412.19437, equations 12 to 16; loss-free balancing, Wang et al. 2024,
    2408.15664, algorithm 1.

    Args:
        dim: ``D``.
        num_experts: ``E``.
        k: experts per item.
        weighting: ``renormalized`` (sums to one; needs ``k`` of 2 or more) or ``probability``
            (the scores themselves).
        scale: what weights are multiplied by.
        rule: how the bias moves: by the ``sign`` of each expert's lack of load, in proportion to
            it (``proportional``), or to what would have sent it an even share (``quantile``).
        rate: how far it moves in a step; None for the rule's own, 0 for no bias.
        gate: what scores the experts.

    >>> import torch
    >>> from routers import Items
    >>> router = Sigmoid(4, 8, k=2, rate=0.5)
    >>> router.adapt(torch.tensor([9, 1, 1, 1, 1, 1, 1, 1]))
    >>> router(Items(torch.randn(50, 4))).load[0].item()
    0
    """

    search_space: ClassVar[Mapping[str, Any]] = {"k": [2, 4], "rule": list(UPDATE_RULES)}

    def select(self, scores: Tensor) -> Tensor:
        return top_k(scores, self.k)
