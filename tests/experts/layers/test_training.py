"""Every router trains with every bank it can sit in front of."""

import pytest
import torch

import experts
from experts import MoE

from ...router_samples import SELECTING, layout, one_of_each
from ..cases import EXPERTS, bank_of, banks_with, call, router_of, rows_for, suits

WHOLE_SAMPLES = [(router, bank) for router in one_of_each(layout) for bank in banks_with(2, 3)]
TOKENS = [(r, b) for r in SELECTING for b in banks_with(1) if suits(r, b)]
PAIRS = TOKENS + WHOLE_SAMPLES


@pytest.mark.parametrize(("router", "bank"), PAIRS)
def test_three_steps(router, bank):
    layer = MoE(router_of(router), bank_of(bank)).train()
    x = rows_for(layer.bank, 12).detach()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    target = rows_for(layer.bank, 12, seed=9).detach()
    for _ in range(3):
        y, routing = call(layer, x)
        loss = (x + y - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    for name, p in layer.bank.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        if p.shape[0] == EXPERTS:  # stacked: who had rows learns, who had none does not
            learns = p.grad.flatten(1).any(1)
            assert torch.equal(learns, routing.load > 0), name
        else:
            assert p.grad.any() or routing.load.min() == 0, name
    of_router = [p.grad for p in layer.router.parameters() if p.grad is not None]
    assert layer.router.traits.learned == any(bool(grad.any()) for grad in of_router)


@pytest.mark.parametrize("bank", experts.available())
def test_experts_learn_what_they_are_asked(bank):
    """A lone expert fits a fixed map of its rows better than at the start."""
    bank = bank_of(bank).train()
    x = rows_for(bank, 8).detach()
    load = torch.tensor([2, 2, 2, 2])
    if not list(bank.parameters()):
        pytest.skip("nothing to learn")
    optimizer = torch.optim.Adam(bank.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        loss = (bank(x, load) - 0.5 * x.flip(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
