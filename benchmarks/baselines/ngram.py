"""Byte 5-gram with interpolated Kneser-Ney back-off, a baseline of language models.

python benchmarks/baselines/ngram.py         on the split of task=topics
python benchmarks/baselines/ngram.py FILE    on a file, split as by task=language_model
"""

import math
import sys
from collections import Counter
from collections.abc import Sequence

from tasks.language_model import LanguageModel
from tasks.topics import Topics


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
    model = [_counted(counts) for counts in _counts(train, order)]
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


def main(paths: Sequence[str]) -> None:
    """Print bits per byte of the validation and test splits."""
    task = LanguageModel(data={"path": paths[0]}) if paths else Topics()
    corpus = task.corpus()
    train, val, test = (bytes(part.tolist()) for part in (corpus.train, corpus.val, corpus.test))
    print(f"{corpus.name}: {len(train):,} bytes to count, {len(test):,} to predict")
    print(f"validation {bits_per_byte(train, val):.4f} bits per byte")
    print(f"test       {bits_per_byte(train, test):.4f} bits per byte")


if __name__ == "__main__":
    main(sys.argv[1:])
