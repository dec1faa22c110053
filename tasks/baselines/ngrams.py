"""Baseline of texts."""

from .._task import Baseline, Batch, Data, Task
from .linear import linear_baseline

#: Bytes of a text, on average, up to which it is short.
SHORT = 250

#: Inverse strengths of regularization to try.
STRENGTHS = (1.0, 4.0, 16.0)


def linear_on_ngrams(task: Task, data: Data) -> Baseline:
    """Logistic regression on the TF-IDF of n-grams: of characters, in long texts of words."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    short = float(data.train["length"].float().mean()) <= SHORT
    kind, unit, lengths = ("char_wb", "character", (1, 5)) if short else ("word", "word", (1, 2))
    vectors = TfidfVectorizer(
        analyzer=kind,
        ngram_range=lengths,
        token_pattern=None if short else r"\S+",
        sublinear_tf=True,
        min_df=2 if len(data.train["y"]) >= 1000 else 1,
        dtype=np.float32,
    )
    texts = [_texts(split) for split in (data.train, data.val, data.test)]
    x = [vectors.fit_transform(texts[0]), *map(vectors.transform, texts[1:])]
    name = f"linear on TF-IDF of {unit} n-grams"
    return linear_baseline(name, task, data, x, STRENGTHS, len(task.kinds()[0].names))


def _texts(split: Batch) -> list[str]:
    rows = zip(split["x"].numpy(), split["length"].tolist(), strict=True)
    return [row[:length].tobytes().decode("utf-8", "surrogateescape") for row, length in rows]
