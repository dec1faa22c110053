"""Logistic regression baselines of the text tasks, on the same splits.

Features are counts of bytes and of byte n-grams for each property of character names, and TF-IDF
of character n-grams for sentiment; scikit-learn, deterministic. The regularization strength is
chosen on the validation split, the score is of the test split.

    python benchmarks/baselines/text_linear.py [FOLDER_OF_TWEET_SENTIMENT_MULTILINGUAL]
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MaxAbsScaler

from tasks import TextSource, read_names
from tasks.baselines import best_linear

STRENGTHS = (0.5, 1.0, 2.0, 4.0, 16.0)

#: Sparse matrices of train, val and test.
Features = Sequence[Any]
Labels = npt.NDArray[np.int64]
Metric = Callable[[Labels, Labels, int], float]


def names_baseline(longest: int) -> dict[str, dict[str, float]]:
    """Accuracy of every property of character names, from counts of byte n-grams.

    Args:
        longest: length of the longest n-gram in bytes; 1 for a bag of bytes.
    """
    found = read_names()
    splits = [part.tolist() for part in (found.train, found.val, found.test)]
    texts = [[found.names[index].decode() for index in part] for part in splits]
    x = features(CountVectorizer(analyzer="char", lowercase=False, ngram_range=(1, longest)), texts)
    scaler = MaxAbsScaler().fit(x[0])
    scaled = [scaler.transform(part) for part in x]
    return {
        name: best(scaled, [prop.y.numpy()[part] for part in splits], accuracy)
        for name, prop in found.properties.items()
    }


def sentiment_baseline(path: Path) -> dict[str, float]:
    """Macro F1, averaged over the languages, from TF-IDF of character 1- to 5-grams in words."""
    found = TextSource(path=str(path), group="language").read()
    parts = (found.train, found.val, found.test)
    texts = [[text.decode("utf-8", "surrogateescape") for text in p.texts] for p in parts]
    grams = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(1, 5), sublinear_tf=True, min_df=2, dtype=np.float32
    )
    groups = [part.group.numpy() for part in parts if part.group is not None]

    def macro_f1(y: Labels, guess: Labels, part: int) -> float:
        rows = [groups[part] == group for group in range(len(found.train.groups))]
        return fmean(float(f1_score(y[here], guess[here], average="macro")) for here in rows)

    return best(features(grams, texts), [part.y.numpy() for part in parts], macro_f1)


def features(vectorizer: CountVectorizer, texts: Sequence[Sequence[str]]) -> Features:
    """Features of train, val and test, fitted to train."""
    train, *others = texts
    return [vectorizer.fit_transform(train), *(vectorizer.transform(part) for part in others)]


def best(x: Features, y: Sequence[Labels], metric: Metric) -> dict[str, float]:
    """Scores of the strength with the best validation score; ties prefer the weakest."""

    def validation(model: Any) -> float:
        return metric(y[1], model.predict(x[1]), 1)

    model = best_linear(x[0], y[0], STRENGTHS, validation)
    test = metric(y[2], model.predict(x[2]), 2)
    return {"C": model.C, "validation": validation(model), "test": test}


def accuracy(y: Labels, guess: Labels, part: int) -> float:
    """Fraction of correct predictions."""
    return float(accuracy_score(y, guess))


def main(path: Path | None) -> dict[str, Any]:
    """All baselines; sentiment only if a folder is given."""
    found: dict[str, Any] = {f"names, 1 to {n}": names_baseline(n) for n in (1, 4)}
    if path is not None:
        found["sentiment"] = sentiment_baseline(path)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, help="folder of tweets")
    print(json.dumps(main(parser.parse_args().path), indent=1))
