"""Bytes as tensors: padding, masks, windows that cover a text once."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.metrics.bits_per_byte import BitsPerByte
from tasks.text.bytes import (
    CLASSES,
    UNSCORED,
    class_of,
    covering,
    features_of,
    pad,
    real,
    stream,
    windows,
)


@given(st.lists(st.binary(max_size=12), max_size=6), st.integers(1, 10))
@settings(max_examples=50, deadline=None)
def test_padding_keeps_texts(texts, length):
    x, lengths = pad(texts, length)
    assert x.shape == (len(texts), length)
    assert [bytes(row[:n].tolist()) for row, n in zip(x, lengths, strict=True)] == [
        text[:length] for text in texts
    ]
    assert not x[~real(lengths, length)].any()


def test_stream_is_its_own_memory():
    text = b"railway"
    values = stream(text)
    values[0] = 0
    assert text == b"railway"
    assert stream(b"").tolist() == []


def test_windows_are_views():
    values = torch.arange(100, dtype=torch.uint8)
    cut = windows(values, 20, 10)
    assert cut.shape == (9, 20)
    assert cut.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()


@given(st.integers(1, 60), st.integers(1, 20), st.data())
@settings(max_examples=100, deadline=None)
def test_covering_meets_each_place_anew_once(size, length, data):
    stride = data.draw(st.integers(1, length))
    values = torch.arange(size)
    cut, seen = covering(values, length, stride)
    assert cut.shape[1] == min(length, size)
    new = [row[n:].tolist() for row, n in zip(cut, seen, strict=True)]
    assert [place for row in new for place in row] == list(range(size))
    assert (cut.diff(dim=1) == 1).all()
    assert (seen[1:] >= cut.shape[1] - stride).all()


def test_bits_per_byte_by_hand():
    """Bytes with probability 1/2, 1/4 and 1/8 take 1, 2 and 3 bits: 2 on average."""
    logits = torch.full((2, 2, 256), -math.inf)
    logits[0, 0, [1, 2]] = 0.0
    logits[0, 1, :4] = 5.0
    logits[1, 0, :8] = -3.0
    logits[1, 1, 9] = 0.0
    target = torch.tensor([[1, 2], [3, UNSCORED]])
    metric = BitsPerByte()
    metric.update(logits, target)
    assert metric.compute().item() == pytest.approx(2.0)


def test_bits_per_byte_of_any_batches():
    """Batches of uneven size give the mean over bytes, not that over batches."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, 256, generator=generator)
    target = torch.randint(0, 256, (7, 5), generator=generator)
    target[2:6, 1:] = UNSCORED
    exact = logits.double().log_softmax(-1).gather(2, target.clamp_min(0).unsqueeze(2)).squeeze(2)
    expected = -exact[target >= 0].mean() / math.log(2)
    metric = BitsPerByte()
    for rows in ((0, 3), (3, 4), (4, 7)):
        metric.update(logits[slice(*rows)], target[slice(*rows)])
    assert metric.compute().item() == pytest.approx(expected.item())


def test_classes_of_all_bytes():
    names = {bytes([b]): CLASSES[place] for b, place in enumerate(class_of(torch.arange(256)))}
    for byte, name in names.items():
        expected = {
            "lower": byte.islower(),
            "upper": byte.isupper(),
            "digit": byte.isdigit(),
            "space": byte.isspace(),
        }
        assert all((name == key) == holds for key, holds in expected.items())
    assert names[b"_"] == names[b"~"] == "punctuation"
    assert names[b"\0"] == names[b"\xc3"] == names[b"\x7f"] == "other"


def test_features_are_of_the_last_bytes():
    x = torch.tensor([[7, 200, 7, 200, 7]])
    single, pairs = features_of(x, 1), features_of(x, 2)
    assert pairs.shape == (1, 5, 28)
    torch.testing.assert_close(pairs[:, 1:], torch.cat([single[:, :-1], single[:, 1:]], -1))
    assert torch.equal(pairs[0, 2], pairs[0, 4])
    assert not torch.equal(single[0, 0], single[0, 1])
