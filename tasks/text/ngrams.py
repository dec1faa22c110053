"""N-grams of texts as hashes, of bytes and of characters, and embeddings of the former."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SPACE = 32

#: Odd numbers: the bases of the hashes, which are polynomials of bytes or characters.
_BYTE_BASE = 0x3C6EF372FE94F82B
_CHARACTER_BASE = 0x5851F42D4C957F2D


def _mixed(hashes: Tensor, factor: int) -> Tensor:
    """Numbers below ``2^31`` whose low bits depend on all bits; overflow wraps on every machine."""
    return (((hashes ^ (hashes >> 29)) * factor) >> 32) & (2**31 - 1)


def ngram_hashes(x: Tensor, order: int) -> Tensor:
    """A number for each position that names the last ``order`` bytes up to it.

    Position ``i`` sees bytes ``i - order + 1`` to ``i``; what lies before the start counts as a
    257th byte. Equal n-grams have equal numbers; others differ but for chance. A single byte
    is its own number. Bytes ``(B, L)`` of any integer type become int64 from 0 to below ``2^31``.

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
        total = total * _BYTE_BASE + padded[:, place : place + length]
    return _mixed(total, 0x1F83D9ABFB41BD6B)


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
        buckets: rows of the table for each order but that of single bytes.
        width: of a row; None for a quarter of ``D``.
        dropout: probability of ignoring an n-gram of two or more bytes in training: a new text has
            many unseen ones.
        vocabulary: rows of single bytes; another number if tokens are read, of which everything
            holds that is said of bytes.

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
        vocabulary: int = 256,
    ) -> None:
        super().__init__()
        self.orders = tuple(orders)
        self.sizes = [vocabulary if order == 1 else buckets for order in self.orders]
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


def character_grams(
    x: Tensor, mask: Tensor, orders: Sequence[int], buckets: int
) -> tuple[Tensor, Tensor]:
    """Hashes of the character n-grams inside words, whichever the script.

    A character is a byte with the continuation bytes of UTF-8 after it (three at most; what is
    not UTF-8 is cut by the same rule). Texts get a space at both ends; an n-gram may begin and
    end with a space but holds none inside, which distinguishes beginnings and ends of words.
    Letters of ASCII and Latin-1 are made small. As scikit-learn's ``char_wb`` analyser, after
    Joulin et al. 2016, 1607.01759, for the hashing.

    Args:
        x: ``(B, L)`` bytes, of any integer type.
        mask: ``(B, L)`` bool, False at padding.
        orders: lengths ``n`` of the n-grams, in characters, from 1.
        buckets: hashes are below this.

    Returns:
        Hashes ``(B, G)`` int64, 0 where the bool ``(B, G)`` says that there is no n-gram.

    >>> x = torch.tensor([list(b"ab aB")])
    >>> grams, real = character_grams(x, torch.ones_like(x).bool(), (2,), 1000)
    >>> int(real.sum()), bool(grams[0, 1] == grams[0, 4])  # " a", "ab", "b ", and again
    (6, True)
    """
    characters, real = _characters(x, mask)
    inside = real & (characters != _SPACE)
    hashes, whole = torch.zeros_like(characters), real
    found: list[Tensor] = []
    holds: list[Tensor] = []
    for order in range(1, max(orders) + 1):
        last = order - 1
        hashes = hashes * _CHARACTER_BASE + _later(characters, last)
        whole = whole & _later(real, last)
        if order > 2:
            whole = whole & _later(inside, last - 1)
        if order in orders:
            found.append(
                torch.where(whole, _mixed(hashes + order, 0x27D4EB2F165667C5) % buckets, 0)
            )
            holds.append(whole)
    return torch.cat(found, 1), torch.cat(holds, 1)


def _characters(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """A number for each character, ``(B, C)``, with a space at both ends; and which are real."""
    value = _small(x.long())
    going_on = mask & ((value & 0xC0) == 0x80)
    starts = mask & ~going_on
    code, together = value, starts
    for step in (1, 2, 3):
        together = together & _later(going_on, step)
        code = torch.where(together, (code << 8) + _later(value, step), code)
    place = starts.cumsum(1)  # the first is 1: the space comes before
    end = place[:, -1:] + 1
    width = int(end.max()) + 1
    characters = code.new_zeros(len(x), width + 1)  # one more, for what starts no character
    characters.scatter_(1, torch.where(starts, place, width), code)
    characters[:, 0] = _SPACE
    characters.scatter_(1, end, _SPACE)
    return characters[:, :width], torch.arange(width, device=x.device) <= end


def _small(value: Tensor) -> Tensor:
    """Capital letters of ASCII and Latin-1 (two bytes, the first 0xC3) made small; all white
    space a space."""
    white = (value >= 9) & (value <= 13)
    ascii_capital = (value >= 65) & (value <= 90)
    after = F.pad(value, (1, 0))[:, :-1] == 0xC3
    latin_capital = after & (value >= 0x80) & (value <= 0x9E) & (value != 0x97)
    return torch.where(white, _SPACE, value + 32 * (ascii_capital | latin_capital))


def _later(values: Tensor, step: int) -> Tensor:
    """Shift each row left by ``step``, with 0 after the end."""
    return F.pad(values, (0, step))[:, step:]
