"""Dropout inside the experts: the mean is kept, and the gradient is that of the same mask."""

import pytest
import torch

from experts import mix
from routers import Items, Routing

from ..cases import bank_of, planned, same

pytestmark = pytest.mark.usefixtures("double")

DIM, HIDDEN, EXPERTS = 3, 6, 4


def by_item(x, weight):
    torch.manual_seed(1)
    chosen = torch.rand(len(x), EXPERTS).topk(2).indices
    return Routing.by_item(Items(x), chosen, weight[:, :2], EXPERTS)


def by_expert(x, weight):
    item = torch.arange(EXPERTS * 2).view(EXPERTS, 2) % len(x)
    return Routing.by_expert(Items(x), item, weight.t()[:, :2])


def is_dense(x, weight):
    return Routing.by_mask(Items(x), weight)


ROUTES = [by_item, by_expert, is_dense]


def case(bank, n):
    bank = bank_of(bank, EXPERTS, DIM, hidden=HIDDEN, dropout=0.4)
    torch.manual_seed(8)
    return torch.randn(n, DIM), torch.randn(n, EXPERTS), bank


@pytest.mark.parametrize("base", [0, 8])
@pytest.mark.parametrize("route", [by_item, is_dense])
@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_mean_over_many_draws_is_the_output_of_eval(bank, route, base):
    """All items are one item, so its copies are draws; five standard errors are allowed."""
    draws = 4000
    x, weight, bank = case(bank, 1)
    x, weight = x.expand(draws, DIM), weight.expand(draws, EXPERTS)
    chosen = torch.tensor([[2, 0]]).expand(draws, 2)
    routing = (
        is_dense(x, weight)
        if route is is_dense
        else Routing.by_item(Items(x), chosen, weight[:, :2], EXPERTS)
    )
    exact = mix(x, routing, bank)
    torch.manual_seed(9)
    with planned(base):
        y = mix(x, routing, bank.train())
    spread = y.std(0)
    assert (spread > 0.01).all()
    assert ((y.mean(0) - exact[0]).abs() < 5 * spread / draws**0.5).all()


def test_zeroes_as_many_as_it_says():
    """The ``down`` matrices pass the hidden activations on, one by one."""
    n = 3000
    _, _, bank = case("mlp", 1)
    bank.down = torch.nn.Parameter(torch.eye(HIDDEN).expand(EXPERTS, -1, -1)[..., :DIM].clone())
    x = torch.ones(n, DIM)
    routing = Routing.by_item(Items(x), torch.arange(n).view(n, 1) % 4, torch.ones(n, 1), EXPERTS)
    torch.manual_seed(0)
    zero = (mix(x, routing, bank.train()) == 0).double()
    assert zero.mean() == pytest.approx(0.4, abs=0.025)
    columns = zero.T.cov(correction=0)
    assert (columns - columns.diag().diag()).abs().max() < 0.02  # each drawn alone


@pytest.mark.parametrize("base", [0, 8])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_gradient_is_of_the_same_mask(bank, route, base):
    x, weight, bank = case(bank, 5)
    names, params = zip(*bank.named_parameters(), strict=True)
    bank.train()

    def run(x, weight, *params):
        torch.manual_seed(10)
        stand_in = dict(zip(names, params, strict=True))
        return torch.func.functional_call(_Mixed(bank), stand_in, (x, route(x, weight)))

    inputs = [given.detach().clone().requires_grad_() for given in (x, weight, *params)]
    with planned(base):
        assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


class _Mixed(torch.nn.Module):
    """``mix`` as a call of a module with the bank's own names for its parameters."""

    def __init__(self, bank):
        super().__init__()
        self._parameters, self.bank = bank._parameters, bank

    def forward(self, x, routing):
        return mix(x, routing, self.bank)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_eval_has_none(bank, route):
    x, weight, with_dropout = case(bank, 5)
    without = bank_of(bank, EXPERTS, DIM, hidden=HIDDEN).train()
    same(mix(x, route(x, weight), with_dropout), mix(x, route(x, weight), without), 0.0)
    assert not torch.equal(
        mix(x, route(x, weight), with_dropout.train()), mix(x, route(x, weight), without)
    )
