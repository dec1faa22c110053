"""The 5-gram with back-off."""

import pytest
import torch

from tasks.baselines import bits_per_byte
from tasks.baselines.bytes import _model, _probability, byte_ngram
from tasks.language_model import LanguageModel


@pytest.mark.parametrize("seen", [b"", b"a", b"ab", b"rail", b"zzzz"])
def test_is_a_distribution(seen):
    letters = torch.randint(97, 101, (300,), generator=torch.Generator().manual_seed(0))
    model = _model(bytes(letters.tolist()), 5)
    total = sum(_probability(model, seen + bytes([b])) for b in range(256))
    assert total == pytest.approx(1.0, abs=1e-9)


TEXT = b"a switchyard sends every wagon down the right track. " * 40


def test_gains_from_context():
    bits = [bits_per_byte(TEXT, TEXT, order) for order in (1, 2, 5)]
    assert 4 > bits[0] > bits[1] > bits[2] > 0


def test_of_a_task_is_that_of_its_splits(tmp_path):
    (tmp_path / "text.txt").write_bytes(TEXT)
    task = LanguageModel(data={"path": str(tmp_path / "text.txt")})
    corpus = task.corpus()
    found = byte_ngram(corpus)
    train, val, test = (bytes(s.tolist()) for s in (corpus.train, corpus.val, corpus.test))
    assert found.validation == bits_per_byte(train, val)
    assert found.test == bits_per_byte(train, test)
    assert found == task.baseline(task.data())
