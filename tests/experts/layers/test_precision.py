"""Narrow numbers, autocast, and gradients and inputs with awkward strides."""

import copy

import pytest
import torch

import experts
from experts import MoE, mix

from ..cases import DIM, bank_of, banks_with, gradients, items_for, learnable, router_of, rows_for

ALL = experts.available()


def run(layer, x, autocast=False):
    """Output and gradients of a dense mixture, which rounding cannot send another way."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y, _ = layer(x)
    return [y, *gradients(y, [x, *learnable(layer)])]


@pytest.mark.parametrize("bank", ALL)
def test_float32_and_autocast_are_close_to_float64(bank):
    layer = MoE(router_of("soft_mixture"), bank_of(bank))
    x = rows_for(layer.bank, 6)
    exact = run(copy.deepcopy(layer).double(), x.detach().double().requires_grad_())
    for autocast, dtype, size in ((False, torch.float32, 64), (True, torch.bfloat16, 6)):
        for got, wanted in zip(run(layer, x, autocast), exact, strict=True):
            assert got.dtype == torch.float32
            error = (got - wanted).norm() / wanted.norm().clamp_min(1e-12)
            assert error < size * torch.finfo(dtype).eps


@pytest.mark.parametrize("bank", ALL)
def test_all_in_bfloat16(bank):
    layer = MoE(router_of("topk"), bank_of(bank)).to(torch.bfloat16)
    x = rows_for(layer.bank, 6).detach().to(torch.bfloat16)
    y, _ = layer(x)
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert all(p.grad.isfinite().all() for p in layer.bank.parameters())


@pytest.mark.parametrize("bank", ALL)
def test_expanded_gradients(bank):
    bank = bank_of(bank)
    rows, load = rows_for(bank, 6), torch.tensor([1, 0, 2, 3])
    inputs = [rows, *learnable(bank)]
    expanded = torch.autograd.grad(bank(rows, load).sum(), inputs)
    y = bank(rows, load)
    plain = torch.autograd.grad(y, inputs, torch.ones(y.shape))
    for a, b in zip(expanded, plain, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("bank", ALL)
def test_gradients_in_another_order_of_memory(bank):
    bank = bank_of(bank)
    x = rows_for(bank, 6)
    routing = router_of("topk")(items_for(bank, x))
    y = mix(x, routing, bank)
    probe = torch.randn(y.shape[::-1]).permute(*range(y.dim())[::-1])
    inputs = [x, *learnable(bank)]
    strided = torch.autograd.grad(y, inputs, probe, retain_graph=True)
    plain = torch.autograd.grad(y, inputs, probe.contiguous())
    for a, b in zip(strided, plain, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("bank", ALL)
def test_items_in_another_order_of_memory(bank):
    layer = MoE(router_of("topk"), bank_of(bank)).eval()
    x = rows_for(layer.bank, 6).detach()
    strided = x.transpose(0, -1).contiguous().transpose(0, -1)
    assert not strided.is_contiguous()
    torch.testing.assert_close(layer(strided)[0], layer(x)[0])


@pytest.mark.parametrize("bank", banks_with(1))
def test_expanded_items(bank):
    layer = MoE(router_of("topk"), bank_of(bank)).eval()
    x = torch.randn(1, 1, DIM)
    y, _ = layer(x.expand(2, 3, DIM))
    torch.testing.assert_close(y, layer(x)[0].expand(2, 3, DIM))
