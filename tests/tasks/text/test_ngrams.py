"""Byte n-grams by hash: what a position sees, and what it does not."""

import pytest
import torch

from tasks.text.bytes import pad
from tasks.text.ngrams import NgramEmbedding, ngram_hashes


def embedding(**options):
    """An embedding whose every row means something."""
    torch.manual_seed(0)
    embed = NgramEmbedding(8, buckets=512, **options).double()
    torch.nn.init.normal_(embed.table.weight)
    return embed


@pytest.mark.parametrize("order", range(1, 7))
def test_equal_ngrams_have_equal_hashes(order):
    """And different ones differ: a dictionary is the slow, obvious reference."""
    generator = torch.Generator().manual_seed(order)
    x = torch.randint(0, 3, (4, 200), generator=generator)
    hashes = ngram_hashes(x, order).tolist()
    hash_of = {}
    for row, found in zip(x.tolist(), hashes, strict=True):
        before = [None] * (order - 1) + row
        for place, number in enumerate(found):
            gram = tuple(before[place : place + order])
            assert hash_of.setdefault(gram, number) == number
    assert len(set(hash_of.values())) == len(hash_of) > 2


def test_hashes_spread_evenly():
    """All 65,536 pairs of bytes over 256 buckets: about 256 each."""
    x = torch.cartesian_prod(torch.arange(256), torch.arange(256))
    load = torch.bincount(ngram_hashes(x, 2)[:, 1] % 256, minlength=256)
    assert load.sum() == 65536
    assert load.double().std() < 22
    assert load.min() > 256 - 5 * 16


def test_any_type_of_bytes_will_do():
    x = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))
    embed = embedding()
    assert torch.equal(embed(x), embed(x.to(torch.uint8)))


@pytest.mark.parametrize("seed", range(5))
def test_a_position_sees_its_last_bytes_alone(seed):
    generator = torch.Generator().manual_seed(seed)
    embed = embedding(orders=(1, 2, 4))
    x = torch.randint(0, 256, (1, 20), generator=generator)
    place = int(torch.randint(0, 20, (), generator=generator))
    changed = x.clone()
    changed[0, place] = (x[0, place] + 1) % 256
    differs = (embed(x) != embed(changed)).any(-1)[0].nonzero().flatten().tolist()
    assert differs == list(range(place, min(place + 4, 20)))


def test_padding_reaches_no_byte():
    texts = [b"a", b"railway", b"switchyard"]
    embed = embedding()
    x, lengths = pad(texts, 30)
    together = embed(x)
    for row, text in enumerate(texts):
        alone = embed(torch.tensor([list(text)]))
        torch.testing.assert_close(together[row, : lengths[row]], alone[0], rtol=0, atol=1e-12)


def test_an_ngram_never_met_adds_nothing():
    embed = NgramEmbedding(8, buckets=512)
    alone = embed(torch.tensor([[97]]))
    after = embed(torch.tensor([[98, 97]]))[:, 1:]
    assert torch.equal(alone, after)  # only single bytes start with a separate row
    assert not torch.equal(alone, embed(torch.tensor([[98]])))


def test_dropout_spares_single_bytes_and_evaluation():
    x = torch.randint(0, 256, (2, 50), generator=torch.Generator().manual_seed(0))
    embed = embedding(dropout=0.5)
    assert torch.equal(embed.eval()(x), embedding()(x))
    assert not torch.equal(embed.train()(x), embed.eval()(x))
    single = embedding(orders=(1,), dropout=0.5)
    assert torch.equal(single.train()(x), single.eval()(x))


def test_dropout_keeps_the_mean():
    x = torch.randint(0, 256, (1, 6), generator=torch.Generator().manual_seed(0))
    embed = embedding(dropout=0.3)
    mean = torch.stack([embed.train()(x) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, embed.eval()(x), rtol=0, atol=0.12)
