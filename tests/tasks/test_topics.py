"""Topics: an honest split, and what counting reaches on it."""

from pydoc_data import topics as pydoc

import pytest

from tasks.topics import Topics, related, split


@pytest.fixture(scope="module")
def texts():
    return {key: text.encode() for key, text in pydoc.topics.items()}


def test_every_topic_is_in_one_split(texts):
    parts = split(texts)
    assert sorted(key for part in parts for key in part) == sorted(texts)


def test_shares(texts):
    sizes = [sum(len(texts[key]) for key in part) for part in split(texts)]
    shares = [size / sum(sizes) for size in sizes]
    assert 0.78 < shares[0] < 0.85
    assert all(0.07 < share <= 0.1 for share in shares[1:])


def test_no_paragraph_is_in_two_splits(texts):
    """Topics repeat each other: without groups, test text would be training text."""

    def paragraphs(part):
        pieces = (b" ".join(p.split()) for key in part for p in texts[key].split(b"\n\n"))
        return {piece for piece in pieces if len(piece) >= 60}

    train, val, test = map(paragraphs, split(texts))
    assert not train & val
    assert not train & test
    assert not val & test
    assert max(map(len, related(texts))) > 5  # there was something to keep together


def test_related_is_transitive():
    one, two = b"x" * 60, b"y" * 60
    texts = {"a": one, "b": one + b"\n\n" + two, "c": two, "d": b"y" * 59, "e": b"y" * 59}
    assert sorted(related(texts)) == [["a", "b", "c"], ["d"], ["e"]]


def test_corpus_is_the_text(texts):
    corpus = Topics().corpus()
    for part, keys in zip((corpus.train, corpus.val, corpus.test), split(texts), strict=True):
        assert bytes(part.tolist()) == b"".join(texts[key] for key in keys)
    assert corpus.sha256 == Topics().corpus().sha256 != corpus.split_sha256


def test_baseline_predicts_what_the_model_does():
    """Every byte of the test text but its first, each once."""
    task = Topics()
    corpus = task.corpus()
    scored = task.collate(task.data().test)["y"] >= 0
    assert scored.sum() == len(corpus.test) - 1
