"""Padding reaches no expert: not inside sequences, not as whole samples, not through slots."""

import pytest
import torch

from experts import MoE

from ...router_samples import SELECTING, layout, one_of_each
from ..cases import DIM, bank_of, banks_with, call, router_of, rows_for, suits

LENGTHS = torch.tensor([5, 2, 4, 1, 3, 5])
INNER = torch.arange(5) < LENGTHS.unsqueeze(1)
SEQUENCES = banks_with(2)
ROUTERS = one_of_each(layout)


@pytest.mark.parametrize("bank", SEQUENCES)
def test_inside_a_bank(bank):
    bank = bank_of(bank)
    load = torch.tensor([2, 0, 3, 1])
    rows = rows_for(bank, 6).detach()
    mask = INNER.clone()
    mask[0], mask[2] = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 0, 0, 1]]).bool()  # before, between
    noisy = torch.where(mask.unsqueeze(-1), rows, 100 * torch.randn(rows.shape))
    y = bank(rows, load, mask)
    assert torch.equal(y, bank(noisy, load, mask))
    assert not y[~mask].any()
    for i, expert in enumerate([0, 0, 2, 2, 2, 3]):  # as if the padding had never been there
        one = 1 * (torch.arange(4) == expert)
        cut = bank(rows[i : i + 1, mask[i]], one)[0]
        torch.testing.assert_close(y[i, mask[i]], cut)


@pytest.mark.parametrize("bank", SEQUENCES)
def test_a_sequence_of_padding_alone_is_finite(bank):
    bank = bank_of(bank)
    rows = rows_for(bank, 2)
    mask = torch.tensor([[False] * 5, [True] * 5])
    y = bank(rows, torch.tensor([1, 1, 0, 0]), mask)
    assert not y[0].any()
    y.sum().backward()
    assert all(p.grad.isfinite().all() for p in bank.parameters())
    assert not rows.grad[0].any()


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("bank", SEQUENCES)
def test_inside_sequences_of_a_layer(bank, router):
    layer = MoE(router_of(router), bank_of(bank), shared=bank_of(bank, 2)).eval()
    x = rows_for(layer.bank, 6).detach()
    noisy = torch.where(INNER.unsqueeze(-1), x, 100 * torch.randn(x.shape))
    y, _ = call(layer, x, mask=INNER)
    assert torch.equal(y, call(layer, noisy, mask=INNER)[0])
    assert not y[~INNER].any()


@pytest.mark.parametrize("bank", SEQUENCES)
def test_a_sequence_of_padding_alone_is_a_padded_sample(bank):
    layer = MoE(router_of("topk"), bank_of(bank))
    mask = INNER & (torch.arange(6) != 2).unsqueeze(1)
    _, routing = call(layer, rows_for(layer.bank, 6), mask=mask)
    assert routing.num_real == 5
    assert 2 not in routing.item


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("bank", banks_with(2, 3))
def test_padded_samples(bank, router):
    layer = MoE(router_of(router), bank_of(bank), shared=bank_of(bank, 2)).eval()
    x = rows_for(layer.bank, 6).detach()
    mask = torch.tensor([True, True, False, True, False, True])
    noisy = x.clone()
    noisy[~mask] = 100.0
    y, _ = call(layer, x, mask=mask)
    torch.testing.assert_close(y, call(layer, noisy, mask=mask)[0])
    assert not y[~mask].any()


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("bank", banks_with(1))
def test_padded_tokens(bank, router):
    if not suits(router, bank):
        return
    layer = MoE(router_of(router), bank_of(bank), shared=bank_of(bank, 2)).eval()
    x = rows_for(layer.bank, 30).detach().view(6, 5, DIM)
    noisy = torch.where(INNER.unsqueeze(-1), x, 100 * torch.randn(x.shape))
    y, routing = call(layer, x, mask=INNER)
    torch.testing.assert_close(y, call(layer, noisy, mask=INNER)[0])
    assert not y[~INNER].any()
    assert routing.num_real == LENGTHS.sum()


@pytest.mark.parametrize("bank", SEQUENCES)
def test_pool_means_over_real_positions(bank):
    bank = bank_of(bank)
    x = rows_for(bank, 2).detach()
    mask = torch.tensor([[True, True, False, False, False], [False] * 5])
    expected = torch.stack([(x[0, 0] + x[0, 1]) / 2, torch.zeros(DIM)])
    torch.testing.assert_close(bank.pool(x, mask), expected)


@pytest.mark.parametrize("router", SELECTING)
def test_padding_may_hold_nan(router):
    layer = MoE(router_of(router), bank_of("mlp"), shared=bank_of("mlp", 1)).eval()
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    clean = torch.randn(2, 4, DIM)
    dirty = clean.masked_fill(~mask.unsqueeze(-1), torch.nan)
    assert torch.equal(call(layer, clean, mask=mask)[0], call(layer, dirty, mask=mask)[0])
