"""Bytes as tensors: padded texts, their masks, windows of a stream, and classes of bytes."""

import string
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

#: How many different bytes there are.
BYTES = 256

#: The target of a byte that neither a loss nor a metric counts.
UNSCORED = -100

#: Which bytes are what; all others are ``other``: control bytes, and all beyond ASCII.
_MEMBERS = {
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase,
    "digit": string.digits,
    "space": string.whitespace,
    "punctuation": string.punctuation,
}
CLASSES = (*_MEMBERS, "other")


def stream(text: bytes) -> Tensor:
    """Bytes as ``(n,)`` uint8."""
    return torch.frombuffer(bytearray(text or b"\0"), dtype=torch.uint8)[: len(text)]


def pad(texts: Sequence[bytes], length: int) -> tuple[Tensor, Tensor]:
    """Texts in rows, cut at ``length`` bytes, 0 after their end.

    The result is ``(B, L)`` uint8, and how many bytes of each are real, ``(B,)`` int64.

    >>> x, lengths = pad([b"ab", b"cdef"], 3)
    >>> x.tolist(), lengths.tolist()
    ([[97, 98, 0], [99, 100, 101]], [2, 3])
    """
    cut = [text[:length] for text in texts]
    lengths = torch.tensor([len(text) for text in cut], dtype=torch.int64)
    x = torch.zeros(len(cut), length, dtype=torch.uint8)
    x[real(lengths, length)] = stream(b"".join(cut))
    return x, lengths


def real(lengths: Tensor, length: int) -> Tensor:
    """The padding mask of texts, ``(B, L)`` bool, True where a byte is real.

    >>> real(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(length, device=lengths.device) < lengths.unsqueeze(1)


def byte_counts(x: Tensor, mask: Tensor) -> Tensor:
    """How often each text holds each byte, ``(B, 256)`` float, padding left out."""
    counts = torch.zeros(len(x), BYTES, device=x.device)
    return counts.scatter_add_(1, x.long(), mask.to(counts.dtype))


def windows(values: Tensor, length: int, stride: int) -> Tensor:
    """Every ``stride``-th run of ``length`` values, ``(W, length)``: a view, no copy.

    >>> windows(torch.arange(6), 3, 2).tolist()
    [[0, 1, 2], [2, 3, 4]]
    """
    return values.unfold(0, length, stride)


def covering(values: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """Windows in which each place of a stream is new once.

    The last window ends where the stream does, so it may overlap more than the others; a shorter
    stream is one window. Each window after the first has ``stride`` new values. The result is
    ``(W, length)``, and how many leading values of each window were in one before, ``(W,)``.

    >>> cut, seen = covering(torch.arange(6), 4, 3)
    >>> cut.tolist(), seen.tolist()
    ([[0, 1, 2, 3], [2, 3, 4, 5]], [0, 2])
    """
    length = min(length, len(values))
    last = len(values) - length
    starts = torch.tensor([*range(0, last, stride), last])
    ends = torch.cat([starts.new_zeros(1), starts[:-1] + length])
    return values[starts.unsqueeze(1) + torch.arange(length)], (ends - starts).clamp_min(0)


def class_of(x: Tensor) -> Tensor:
    """Indices into ``CLASSES`` of bytes of any shape, int64.

    >>> [CLASSES[place] for place in class_of(torch.tensor(list(b"a?")))]
    ['lower', 'punctuation']
    """
    table = torch.full((256,), len(_MEMBERS), device=x.device)
    for place, members in enumerate(_MEMBERS.values()):
        table[torch.tensor(list(members.encode()), device=x.device)] = place
    return table[x.long()]


def features_of(x: Tensor, order: int) -> Tensor:
    """Classes and bits of the last ``n = order`` bytes at each position of ``x`` ``(B, L)``.

    The result is ``(B, L, n * 14)``, the earliest byte first; bytes before the start are as 0.

    >>> features_of(torch.tensor([[97]]), 1)[0, 0].int().tolist()
    [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0]
    """
    bits = (x.unsqueeze(-1).long() >> torch.arange(8, device=x.device)) & 1
    each = torch.cat([F.one_hot(class_of(x), len(CLASSES)), bits], -1).float()
    back = range(order - 1, -1, -1)
    return torch.cat([F.pad(each, (0, 0, n, 0))[:, : x.shape[1]] for n in back], -1)
