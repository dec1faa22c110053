"""Baseline of language models: a byte 5-gram with interpolated Kneser-Ney back-off."""

import math
from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from .._task import Baseline
from ..readers import Splits


def byte_ngram(corpus: Splits[Tensor], order: int = 5) -> Baseline:
    """Bits per byte of the validation and test split, by counts of the training split."""
    model, scored = _model(_bytes(corpus.train), order), (corpus.val, corpus.test)
    validation, test = (_bits(model, _bytes(split), order) for split in scored)
    return Baseline(f"{order}-gram, back-off", validation, test)


def _bytes(text: Tensor) -> bytes:
    return text.numpy().tobytes()


def bits_per_byte(train: bytes, test: bytes, order: int = 5) -> float:
    """Mean of ``-log2 p`` over the bytes of ``test`` except its first, given the bytes before.

    Interpolated Kneser-Ney with one discount per order, estimated as ``n1 / (n1 + 2 n2)``; below
    the uniform distribution over 256 bytes. Source: Kneser and Ney 1995; Chen and Goodman
    1999, equations 24 to 28.

    Args:
        train: bytes to count, at least 1.
        test: bytes to predict, at least 2.
        order: length of the longest n-gram.

    For the single bytes ``a`` (twice) and ``b`` (once) the discount is 1/3, and ``a`` has
    (2 - 1/3 + 2/3/256) / 3 = 0.5564:

    >>> round(2 ** -bits_per_byte(b"aab", b"xa", order=1), 4)
    0.5564
    """
    return _bits(_model(train, order), test, order)


def _model(train: bytes, order: int) -> "list[Model]":
    return [_counted(counts) for counts in _counts(train, order)]


def _bits(model: "Sequence[Model]", test: bytes, order: int) -> float:
    total = 0.0
    for i in range(1, len(test)):
        total -= math.log2(_probability(model, test[max(0, i - order + 1) : i + 1]))
    return total / (len(test) - 1)


#: One order: counts, total and number of distinct continuations per context, and discount.
Model = tuple[Counter[bytes], Counter[bytes], Counter[bytes], float]


def _counts(train: bytes, order: int) -> list[Counter[bytes]]:
    """Counts of the longest n-grams; for shorter ones the number of distinct preceding bytes."""
    counts = [Counter(train[i : i + order] for i in range(len(train) - order + 1))]
    for n in range(order - 1, 0, -1):
        before: Counter[bytes] = Counter(gram[1:] for gram in counts[-1])
        before.setdefault(train[:n], 1)  # the first n-gram has no preceding byte
        counts.append(before)
    return counts[::-1]


def _counted(counts: Counter[bytes]) -> Model:
    totals: Counter[bytes] = Counter()
    distinct: Counter[bytes] = Counter()
    for gram, count in counts.items():
        totals[gram[:-1]] += count
        distinct[gram[:-1]] += 1
    of = Counter(counts.values())
    discount = of[1] / (of[1] + 2 * of[2]) if of[1] else 0.5
    return counts, totals, distinct, discount


def _probability(model: Sequence[Model], seen: bytes) -> float:
    """Probability of the last byte of ``seen`` given the others, from the shortest context up."""
    value = 1 / 256
    for n, (counts, totals, distinct, discount) in enumerate(model[: len(seen)], start=1):
        gram = seen[len(seen) - n :]
        if total := totals[gram[:-1]]:
            discounted = max(counts[gram] - discount, 0)
            value = (discounted + discount * distinct[gram[:-1]] * value) / total
    return value
