"""The dense mixture: taken where every item goes to every expert, without a row for each pair."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import experts
from experts import mix
from routers import Items, Routing

from ..cases import Made, bank_of, gradients, plain_mix, planned, same

pytestmark = pytest.mark.usefixtures("double")

# sizes that distinguish all shapes
N, DIM, HIDDEN, EXPERTS = 11, 3, 4, 5


def case(bank="mlp", **options):
    bank = bank_of(bank, EXPERTS, DIM, hidden=HIDDEN, **options)
    torch.manual_seed(7)
    return torch.randn(N, DIM).requires_grad_(), torch.randn(N, EXPERTS).requires_grad_(), bank


def shapes_made(x, weight, bank, route):
    """Of a forward and a backward pass; and the layouts of rows, which there should be none of."""
    with planned() as taken, Made() as made:
        y = mix(x, route(x, weight), bank)
        gradients(y, [x, weight, *bank.parameters()])
    return made.shapes, taken


def whole(x, weight):
    return Routing.by_mask(Items(x), weight)


@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_equals_the_reference(bank):
    x, weight, bank = case(bank)
    inputs = [x, weight, *bank.parameters()]
    fast, slow = (engine(x, whole(x, weight), bank) for engine in (mix, plain_mix))
    same(fast, slow)
    for a, b in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
        same(a, b)


@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_builds_no_row_for_each_pair(bank):
    x, weight, bank = case(bank)
    shapes, taken = shapes_made(x, weight, bank, whole)
    assert not taken
    assert (N * EXPERTS, DIM) not in shapes
    assert not [shape for shape in shapes if shape[:1] == (N * EXPERTS,) and len(shape) > 1]
    assert (N, EXPERTS * HIDDEN) in shapes  # one wide network
    rows = N * DIM * EXPERTS
    assert all(DIM not in shape[1:] or torch.Size(shape).numel() < rows for shape in shapes)


def test_costs_what_its_rows_cost():
    x, weight, bank = case()
    forward = N * sum(bank.flops((DIM,)))
    assert experts.count_flops(lambda: mix(x, whole(x, weight), bank)) == forward


def _with_padding(x, weight):
    return Routing.by_mask(Items(x, mask=torch.arange(N) < N - 1), weight)


def _some(x, weight):
    return Routing.by_mask(Items(x), weight, keep=torch.arange(N * EXPERTS).view(N, -1) % 7 > 0)


def _after_drops(x, weight):
    return whole(x, weight).limit(0.8)


def _all_kept(x, weight):
    """Nothing is left out, but that is known only to who looks."""
    return Routing.by_mask(Items(x), weight, keep=torch.ones(N, EXPERTS, dtype=torch.bool))


def _turned(x, weight):
    """Every item by every expert, but each expert has them in another order."""
    item = (torch.arange(N) + torch.arange(EXPERTS).unsqueeze(1)) % N
    return Routing.by_expert(Items(x), item, weight.t())


@pytest.mark.parametrize("route", [_with_padding, _some, _after_drops, _all_kept, _turned])
@pytest.mark.parametrize("bank", ["mlp", "glu"])
def test_is_not_taken_otherwise(bank, route):
    x, weight, bank = case(bank)
    shapes, taken = shapes_made(x, weight, bank, route)
    assert len(taken) == 1
    assert (route(x, weight).num_assignments, DIM) in shapes
    same(mix(x, route(x, weight), bank), plain_mix(x, route(x, weight), bank))


def test_is_not_taken_with_dropout():
    """Hidden activations are dropped for each pair alone."""
    x, weight, bank = case(dropout=0.5)
    assert not shapes_made(x, weight, bank, whole)[1]
    assert shapes_made(x, weight, bank.train(), whole)[1]


def test_is_not_taken_for_several_tasks():
    x, _, bank = case()
    weight = torch.randn(EXPERTS, N, 2).requires_grad_()
    item = torch.arange(N).expand(EXPERTS, N)

    def route(x, weight):
        return replace(Routing.by_expert(Items(x), item, weight), is_dense=True)

    assert shapes_made(x, weight, bank, route)[1]


def test_one_item_and_one_expert():
    for n, num_experts in ((1, 5), (6, 1), (1, 1)):
        bank = bank_of("glu", num_experts, DIM, hidden=HIDDEN)
        x, weight = torch.randn(n, DIM).requires_grad_(), F.softmax(torch.randn(n, num_experts), 1)
        inputs = [x, *bank.parameters()]
        fast, slow = (engine(x, whole(x, weight), bank) for engine in (mix, plain_mix))
        same(fast, slow)
        for a, b in zip(gradients(fast, inputs), gradients(slow, inputs), strict=True):
            same(a, b)
