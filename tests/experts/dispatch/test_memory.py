"""What is built on the way: rows for each assignment, never a place for each pair."""

import math

import pytest
import torch

import routers
from experts import MoE
from routers import Items

from ...router_samples import by_item, layout, one_of_each, traits
from ..cases import IDS, Made, bank_of, planned

#: No row of hidden units, nor twice that, is as wide as there are experts.
N, K, DIM, HIDDEN, EXPERTS = 512, 2, 12, 48, 64

#: What asks for two experts for each item, by the option that says so.
TWO = {"k": K, "factor": float(K)}


#: One of each way to choose them; some name one expert for each item.
ROUTERS = one_of_each(
    lambda name: (layout(name), traits(name).needs_ids),
    lambda name: (by_item(name) and name != "stable") or layout(name) == {"fan_in"},
)  # stable has an embedding of ids that is wider than the hidden layer


def chooser_of(name, num_experts):
    options = {key: TWO[key] for key in routers.ROUTERS.options(name).keys() & TWO.keys()}
    chooser = routers.build(name, DIM, num_experts, **options)
    chooser.prepare(torch.arange(IDS), torch.randn(IDS, 3))
    return chooser


def made_by(router, num_experts, capacity=None, base=None, bank="mlp"):
    """Shapes of all that a forward and a backward pass of a layer in training make."""
    torch.manual_seed(0)
    experts = bank_of(bank, num_experts, DIM, hidden=HIDDEN)
    layer = MoE(chooser_of(router, num_experts), experts, capacity=capacity).train()
    x = torch.randn(N, DIM).requires_grad_()
    with planned(base), Made() as made:
        y, _ = layer(x, ids=torch.arange(N))
        y.square().sum().backward()
    own = {tuple(p.shape) for p in layer.parameters()}
    return made.shapes, own


def size(shape):
    return math.prod(shape)


def assigned_by(router, num_experts):
    """Assignments of all items."""
    bank = bank_of("mlp", num_experts, DIM, hidden=HIDDEN)
    items = Items(torch.randn(N, DIM), ids=torch.arange(N), projections=bank.projections())
    return chooser_of(router, num_experts)(items).num_assignments


def largest_of(shapes, own):
    """Elements of the largest but for the scores of all pairs and the parameters' own."""
    return max(size(shape) for shape in shapes if shape not in own and size(shape) != N * EXPERTS)


def wide(bank):
    """Hidden units of a row, with the gates' where there are any."""
    return HIDDEN * (1 if bank == "mlp" else 2)


def test_one_and_two_experts_for_each_item_are_tried():
    assert {assigned_by(router, EXPERTS) for router in filter(by_item, ROUTERS)} == {N, K * N}


@pytest.mark.parametrize("bank", ["mlp", "glu"])
@pytest.mark.parametrize("base", [None, 0, 32])
@pytest.mark.parametrize("capacity", [None, 1.0])
@pytest.mark.parametrize("router", ROUTERS)
def test_no_place_for_each_pair(router, capacity, base, bank):
    """The largest are the hidden layer of the rows, and the gate's ``(N, E)``."""
    largest = largest_of(*made_by(router, EXPERTS, capacity, base, bank))
    places = math.ceil(K * N / EXPERTS)
    assert largest < N * EXPERTS * min(places, HIDDEN)
    if base is not None:  # a batch of 32 for each holds twice the mean load, and tails follow
        rows = EXPERTS * base + assigned_by(router, EXPERTS)
        assert largest <= rows * wide(bank)


@pytest.mark.parametrize("bank", ["mlp", "glu"])
@pytest.mark.parametrize("router", ROUTERS)
def test_the_hidden_layer_has_one_row_for_each_assignment(router, bank):
    largest = largest_of(*made_by(router, EXPERTS, base=0, bank=bank))
    assert largest == assigned_by(router, EXPERTS) * wide(bank)


def working(router, num_experts, capacity):
    """Elements of all that is made, but for the scores of all pairs and the parameters' own."""
    shapes, own = made_by(router, num_experts, capacity, base=0)
    scores = N * num_experts
    return sum(size(shape) for shape in shapes if shape not in own and size(shape) != scores)


@pytest.mark.parametrize("capacity", [None, 4.0])
@pytest.mark.parametrize("router", ROUTERS)
def test_grows_with_assignments_and_not_with_experts(router, capacity):
    """A capacity that drops few, so that there are as many assignments to compare."""
    few, many = (working(router, num_experts, capacity) for num_experts in (8, EXPERTS))
    assert few > assigned_by(router, 8) * HIDDEN
    assert many < 1.01 * few


def saved_by(num_experts, n):
    """Elements kept for the backward pass, each storage once; no parameters and logits."""
    layer = MoE(
        routers.build("topk", DIM, num_experts, k=K),
        bank_of("mlp", num_experts, DIM, hidden=HIDDEN),
    )
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        return tensor

    x = torch.randn(n, DIM).requires_grad_()
    with planned(0), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y, _ = layer(x)
    assert y.requires_grad
    return sum(kept.values()) - n * num_experts


def test_what_is_kept_for_the_backward_pass_grows_with_assignments():
    """Of each row what went in, what was hidden before and after, and what came out."""
    assert saved_by(EXPERTS, N) == saved_by(8, N)
    per_row = 2 * DIM + 2 * HIDDEN
    rows = N * K
    assert rows * per_row <= saved_by(EXPERTS, N) < 1.2 * rows * per_row
