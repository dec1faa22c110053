"""Baseline of texts."""

from collections.abc import Callable, Sequence

from torch import Tensor

from .._task import Baseline, Batch, Data, Task
from .linear import linear_baseline

#: Bytes of a text, on average, up to which it is short.
SHORT = 250

#: Characters of a word, on average, from which on it is none.
LONG_WORD = 20

#: Inverse strengths of regularization to try.
STRENGTHS = (1.0, 4.0, 16.0)


def linear_on_ngrams(task: Task, data: Data, text_of: Callable[[Tensor], str]) -> Baseline:
    """Logistic regression on the TF-IDF of n-grams: of characters, in long texts of words.

    ``text_of`` returns the text of the values ``(L,)`` of a sample.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [_texts(split, text_of) for split in (data.train, data.val, data.test)]
    short = float(data.train["length"].float().mean()) <= SHORT or _has_few_words(texts[0])
    kind, unit, lengths = ("char_wb", "character", (1, 5)) if short else ("word", "word", (1, 2))
    vectors = TfidfVectorizer(
        analyzer=kind,
        ngram_range=lengths,
        token_pattern=None if short else r"\S+",
        sublinear_tf=True,
        min_df=2 if len(data.train["y"]) >= 1000 else 1,
    )
    x = [vectors.fit_transform(texts[0]), *map(vectors.transform, texts[1:])]
    name = f"linear on TF-IDF of {unit} n-grams"
    return linear_baseline(name, task, data, x, STRENGTHS, len(task.kinds()[0].names))


def _has_few_words(texts: Sequence[str]) -> bool:
    """Whether words are long on average, as in texts without spaces."""
    words = sum(len(text.split()) for text in texts)
    return sum(map(len, texts)) > LONG_WORD * words


def _texts(split: Batch, text_of: Callable[[Tensor], str]) -> list[str]:
    rows = zip(split["x"], split["length"].tolist(), strict=True)
    return [text_of(row[:length]) for row, length in rows]
