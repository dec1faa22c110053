"""Threads that share a layer: equal outputs, and weights that stay."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import experts
from experts import MoE
from routers import ConfigError

from ..cases import bank_of, call, router_of, rows_for, suits

MERGING = [name for name in experts.available() if suits("merged", name)]


@pytest.fixture
def eager_switches():
    """Threads take turns as often as the interpreter lets them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_switches")
@pytest.mark.parametrize("bank", MERGING)
def test_merging_leaves_the_weights_alone(bank):
    layer = MoE(router_of("merged"), bank_of(bank))
    x = rows_for(layer.bank, 6).detach()
    expected, _ = call(layer, x)
    before = {name: (id(p), p.clone()) for name, p in layer.named_parameters()}
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda _: call(layer, x)[0], range(60)))
    assert all(torch.equal(y, expected) for y in outputs)
    for name, p in layer.named_parameters():
        held, values = before[name]
        assert id(p) == held, name
        assert torch.equal(p, values), name


def test_a_forward_replaced_on_the_instance_is_not_bypassed():
    layer = MoE(router_of("merged"), bank_of("mlp"))
    layer.bank.forward = lambda rows, load, mask=None: rows
    with pytest.raises(ConfigError, match=r"MLP\.forward is replaced on an instance"):
        call(layer, rows_for(layer.bank, 6))
