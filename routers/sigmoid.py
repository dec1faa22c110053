"""Sigmoid top-K with loss-free balancing."""

from torch import Tensor

from ._router import ROUTERS
from .blocks import SigmoidTopKBase, top_k


@ROUTERS.register("sigmoid")
class Sigmoid(SigmoidTopKBase):
    """Each item selects the K experts with the largest sigmoid score plus a balancing bias.

    ``S = topk(sigma(h) + b)``, weighted by ``sigma(h)[S] / sum sigma(h)[S]``: the bias changes the
    selection only. It is updated once per training step; no balance loss is needed. Weights are
    divided by their exact sum, also where all scores are tiny.

    Source: DeepSeek-V3 2412.19437, equations 12 to 16; loss-free balancing, Wang et al. 2024,
    2408.15664, algorithm 1. ``score=sqrt_softplus`` is that of DeepSeek-V4, as in NVIDIA's
    Megatron-LM, pull request 4481; ``bias_to=logits`` is ours.

    Args:
        weighting: ``renormalized`` (sums to one; needs ``k >= 2``) or ``probability``
            (the scores themselves).
        scale: factor of the weights.
        score: ``sigmoid``, or ``sqrt_softplus``, ``sqrt(log(1 + exp(h)))``, which has no maximum.
        bias_to: what the bias is added to: the ``score``, or the ``logits`` it is computed from,
            where a step counts as much for any score.
        rule: update of the bias: by the ``sign`` of the mean load minus each expert's load,
            ``proportional`` to it, by it and its changes (``pid``), towards the bias of an even
            load (``quantile``), or by prices of the best even assignment (``bip``).
        rate: step size of the update; None for the rule's default, 0 for no bias.

    >>> import torch
    >>> from routers import Items
    >>> router = Sigmoid(4, 8, k=2, rate=0.5)
    >>> router.adapt(torch.tensor([9, 1, 1, 1, 1, 1, 1, 1]))
    >>> router(Items(torch.randn(50, 4))).load[0].item()
    0
    """

    #: Rules that we know from their sources; other rules and ``score`` are for separate arms.
    search_space = {"k": [2, 4], "rule": ["sign", "proportional", "quantile"]}

    def select(self, scores: Tensor) -> Tensor:
        return top_k(scores, self.k)
