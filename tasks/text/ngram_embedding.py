"""Embeddings of byte n-grams, by hash: what a byte means after the ones before it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Odd numbers near 2^62 and 2^61: a polynomial's base, and a last scramble.
_BASE = 0x3C6EF372FE94F82B
_SCRAMBLE = 0x1F83D9ABFB41BD6B


def ngram_hashes(x: Tensor, order: int) -> Tensor:
    """A number for each position that names the last ``order`` bytes up to it.

    Position ``i`` sees bytes ``i - order + 1`` to ``i``; what lies before the start counts as a
    257th byte. Equal n-grams have equal numbers; others differ but for chance. A single byte
    is its own number.

    Args:
        x: ``(B, L)`` bytes, of any integer type.
        order: ``n``, from 1.

    Returns:
        ``(B, L)`` int64 from 0 to below ``2^31``.

    >>> found = ngram_hashes(torch.tensor([list(b"abab")]), 2)[0]
    >>> [bool(found[1] == found[3]), bool(found[0] == found[2])]
    [True, False]
    """
    if order == 1:
        return x.long()
    padded = F.pad(x.long() + 1, (order - 1, 0))
    length = x.shape[1]
    total = padded[:, :length]
    for place in range(1, order):
        total = total * _BASE + padded[:, place : place + length]
    total = (total ^ (total >> 29)) * _SCRAMBLE  # overflow wraps, the same on every machine
    return (total >> 32) & (2**31 - 1)


class NgramEmbedding(nn.Module):
    """The sum of an embedding of the last 1, 2, … bytes at each position, by hash.

    Causal: position ``i`` sees bytes up to ``i``. Padding after a text reaches none of its
    bytes; what is returned at padding means nothing. Orders share one table whose rows are
    narrow, and each order has its own matrix to ``D``: the step of an optimizer goes over the
    whole table, so wide rows would cost more than the rest of a small model. Rows of two or
    more bytes start at 0: an n-gram that training never met adds nothing.

    Source: hash n-gram embeddings of BLT, Pagnoni et al. 2024, 2412.09871, section 3.2.1; as
    a bag of n-grams, Joulin et al. 2016, 1607.01759.

    Args:
        dim: ``D``.
        orders: lengths ``n`` of the n-grams.
        buckets: rows of the table for each order; single bytes have 256.
        width: of a row; None for a quarter of ``D``.
        dropout: probability of ignoring an n-gram of two or more bytes in training: a new text has
            many unseen ones.

    >>> embed = NgramEmbedding(8, orders=(1, 2, 3), buckets=256)
    >>> embed(torch.tensor([[97, 98, 99]], dtype=torch.uint8)).shape
    torch.Size([1, 3, 8])
    """

    start: Tensor

    def __init__(
        self,
        dim: int,
        orders: Sequence[int] = (1, 2, 3, 4, 5),
        buckets: int = 2**14,
        *,
        width: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.orders = tuple(orders)
        self.sizes = [256 if order == 1 else buckets for order in self.orders]
        width = width or max(dim // 4, 1)
        self.table = nn.Embedding(sum(self.sizes), width)
        self.dropout = dropout
        self.out = nn.Linear(len(self.orders) * width, dim)
        # where each order's rows start
        self.register_buffer("start", torch.tensor(self.sizes).cumsum(0) - torch.tensor(self.sizes))
        with torch.no_grad():
            tables = torch.split(self.table.weight, self.sizes)
            for order, rows in zip(self.orders, tables, strict=True):
                rows.mul_(order == 1)

    def forward(self, x: Tensor) -> Tensor:
        """Bytes ``(B, L)`` of any integer type to ``(B, L, D)``."""
        pairs = zip(self.orders, self.sizes, strict=True)
        rows = [ngram_hashes(x, order) % size for order, size in pairs]
        found = self.table(torch.stack(rows, -1) + self.start)
        if self.training and self.dropout:
            found = found * self._kept(found)
        return self.out(found.flatten(-2))

    def _kept(self, found: Tensor) -> Tensor:
        """Weight of each n-gram, ``(B, L, n, 1)``: 0 if dropped, and 1 on average."""
        kept = F.dropout(found.new_ones(*found.shape[:-1], 1), self.dropout)
        single = [place for place, order in enumerate(self.orders) if order == 1]
        return kept.index_fill(2, torch.tensor(single, device=kept.device, dtype=torch.long), 1.0)
