"""Character n-grams of texts as hashes, computed from bytes alone."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_SPACE = 32

#: Odd numbers: a polynomial's base, and a last scramble.
_BASE = 0x5851F42D4C957F2D
_SCRAMBLE = 0x27D4EB2F165667C5


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
        Hashes ``(B, G)`` int64, and which of them are of an n-gram, ``(B, G)`` bool; hashes
        are 0 elsewhere.

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
        hashes = hashes * _BASE + _later(characters, last)
        whole = whole & _later(real, last)
        if order > 2:
            whole = whole & _later(inside, last - 1)
        if order in orders:
            found.append(torch.where(whole, _bucket(hashes + order, buckets), 0))
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


def _bucket(hashes: Tensor, buckets: int) -> Tensor:
    """Mixed, so that the low bits depend on all others; overflow wraps alike everywhere."""
    mixed = (hashes ^ (hashes >> 29)) * _SCRAMBLE
    return ((mixed >> 32) & (2**31 - 1)) % buckets
