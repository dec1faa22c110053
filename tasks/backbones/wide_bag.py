"""Logistic regression on the TF-IDF of hashed character n-grams, next to routed layers."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._task import BACKBONES
from .bag import Bag, pooled

#: What the linear model's weights are multiplied by: plain descent takes steps 3 times as long
#: in them as in the rest of the network, as the small inputs of a linear model ask for, and a
#: weight decay of 1e-4 pulls on them as 1e-4 / 1.75^2 does on plain weights. That is logistic
#: regression with C = 2 on 15,000 texts.
_WIDE = 1.75


@BACKBONES.register("wide_bag")
class WideBag(Bag):
    """A linear model of a text's n-grams, plus what routed layers make of their vectors.

    With ``w`` the TF-IDF weights of the n-grams ``g`` of a text (``tf_idf``), the logits are
    ``sum_g w_g (wide_g)`` and a head of ``v = sum_g w_g e_g``, to which each routed layer adds:
    ``v += MoE(drop(v))``. What is routed is the whole text: the batch is one group. The linear
    part and the head start at 0; ``e_g`` at standard normals, so that ``v`` is a random
    projection of the text with values of variance 1.

    Source: Cheng et al. 2016, 1606.07792, for wide and deep parts; Joulin et al. 2016, 1607.01759,
    for the n-grams.

    Args:
        dim, depth, ngrams, buckets, rare, ngram_dropout, dropout: as in ``bag``.
    """

    spread = 1.0

    def add_linear_model(self, outputs: int) -> None:
        self.wide = nn.Parameter(torch.zeros(len(self.rarity), outputs))

    def make_head(self, dim: int, outputs: int) -> nn.Linear:
        head = super().make_head(dim, outputs)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return head

    def logits(self, x: Tensor, grams: Tensor, weight: Tensor) -> Tensor:
        return _WIDE * pooled(self.wide, grams, weight) + super().logits(x, grams, weight)

    def weigh(self, grams: Tensor, holds: Tensor) -> tuple[Tensor, Tensor]:
        return tf_idf(grams, holds, self.rarity)


def tf_idf(grams: Tensor, real: Tensor, rarity: Tensor) -> tuple[Tensor, Tensor]:
    """The n-grams of each text once, weighed ``(1 + ln c) r`` for ``c`` times of rarity ``r``.

    ``grams`` ``(B, G)`` may repeat; ``real`` is False where there is none. The result is hashes
    and weights, both ``(B, U)`` for the ``U`` of the text with most different ones, 0 after the
    last. Source: Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval".

    >>> grams, weight = tf_idf(torch.tensor([[2, 0, 2]]), torch.ones(1, 3).bool(), torch.ones(3))
    >>> grams.tolist(), [round(value, 2) for value in weight[0].tolist()]  # 1 and 1 + ln 2
    ([[0, 2]], [1.0, 1.69])
    """
    none = len(rarity)  # sorts after every n-gram
    ordered = grams.masked_fill(~real, none).sort(1).values
    new = F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0), value=True)
    place = new.cumsum(1) - 1
    width = int(place[:, -1].max()) + 1
    once = ordered.new_full((len(grams), width), none).scatter_(1, place, ordered)
    times = rarity.new_zeros(once.shape).scatter_add_(1, place, rarity.new_ones(place.shape))
    known = once < none
    once = once.where(known, 0)
    return once, torch.where(known, (1 + times.log()) * rarity[once], 0)
