"""A text as a bag of hashed character n-grams, then routed layers over whole texts."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routers import Routing

from .._task import Backbone, Batch, Layer
from ..text.char_ngrams import character_grams


class Bag(Backbone):
    """The weighted mean of a text's n-gram vectors, routed layers beside identities, a head.

    ``v = sum_g w_g e_g / |w|`` over the n-grams ``g`` of a text, ``w_g`` the rarity of ``g``;
    then ``v += MoE(drop(v))`` for each layer. What is routed is the whole text: the batch is
    one group. A linear model of n-grams is what is left without the routed layers.

    Source: Joulin et al. 2016, 1607.01759, with the inverse document frequencies of
    Spärck Jones 1972 as weights.

    Args:
        layer: builds the routed layer for samples of shape ``(D,)``.
        rarity: ``(buckets,)``, the weight of each n-gram.
        orders: lengths of the n-grams, in characters.
        dim: ``D``.
        depth: number of routed layers.
        classes: outputs.
        ngram_dropout: chance, in training, that an n-gram is not looked at.
        dropout: chance that a value is left out before a routed layer and the head.
    """

    rarity: Tensor

    def __init__(
        self,
        layer: Layer,
        *,
        rarity: Tensor,
        orders: Sequence[int],
        dim: int,
        depth: int,
        classes: int,
        ngram_dropout: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.orders = tuple(orders)
        self.register_buffer("rarity", rarity.to(torch.get_default_dtype()))
        self.table = nn.Parameter(torch.randn(len(rarity), dim) * 0.05)
        self.ngram_dropout = nn.Dropout(ngram_dropout)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(layer((dim,)) for _ in range(depth))
        self.head = nn.Linear(dim, classes)

    def forward(self, batch: Batch) -> tuple[Tensor, list[Routing]]:
        """Bytes ``batch["x"]`` ``(B, L)`` to logits ``(B, classes)``."""
        x = self.embed(batch["x"], batch["mask"])
        routings = []
        for layer in self.layers:
            update, routing = layer(self.dropout(x), ids=batch.get("ids"), task=batch.get("task"))
            x = x + update
            routings.append(routing)
        return self.head(self.dropout(x)), routings

    def embed(self, x: Tensor, mask: Tensor) -> Tensor:
        """Bytes ``(B, L)`` to the vectors of the texts, ``(B, D)``."""
        grams, real = character_grams(x, mask, self.orders, len(self.rarity))
        weight = self.ngram_dropout(self.rarity[grams] * real)
        weight = F.normalize(weight, dim=1)
        return F.embedding_bag(grams, self.table, per_sample_weights=weight, mode="sum")


def inverse_document_frequency(grams: Iterable[Tensor], buckets: int, rare: int = 0) -> Tensor:
    """``ln((1 + N) / (1 + n_g)) + 1`` for the ``n_g`` of ``N`` texts that hold ``g``.

    Args:
        grams: of each text, any shape, repeats allowed.
        buckets: hashes are below this.
        rare: what fewer texts hold gets 0.

    Returns:
        ``(buckets,)`` float32.

    >>> rarity = inverse_document_frequency([torch.tensor([0, 0]), torch.tensor([0, 1])], 2)
    >>> [round(value, 2) for value in rarity.tolist()]  # ln(3 / 3) + 1 and ln(3 / 2) + 1
    [1.0, 1.41]
    """
    texts = 0
    counts = torch.zeros(buckets)
    for found in grams:
        counts[found] += 1  # repeats write the same number
        texts += 1
    return torch.where(counts < rare, 0.0, torch.log((1 + texts) / (1 + counts)) + 1)
