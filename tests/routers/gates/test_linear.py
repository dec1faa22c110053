"""Selected scores of a linear gate: the dense gradient without a dense matrix."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import routers
from routers import Items
from routers.gates.linear import linear_at

MANY = 256


class Made(TorchDispatchMode):
    """Notes the shapes of all results inside."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.shapes += [tuple(t.shape) for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        return out


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def case(n, k, dim, outputs=MANY, kinds=None, seed=0):
    """Items, weights and choices; of few ``kinds`` many choose the same, also twice."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(outputs, dim, generator=generator, dtype=torch.float64).requires_grad_()
    chosen = torch.randint(kinds or outputs, (n, k), generator=generator)
    probe = torch.randn(n, k, generator=generator, dtype=torch.float64)
    return x, weight, chosen, probe


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 20),
    k=st.integers(1, 5),
    dim=st.integers(1, 6),
    outputs=st.sampled_from([MANY - 1, MANY, MANY + 1]),
    kinds=st.sampled_from([1, 3, MANY - 1]),
    asked=st.sampled_from([(True, True), (True, False), (False, True)]),
    seed=st.integers(0, 99),
)
def test_equals_gather(n, k, dim, outputs, kinds, asked, seed):
    x, weight, chosen, probe = case(n, k, dim, outputs, kinds, seed)
    for given_, asks in zip((x, weight), asked, strict=True):
        given_.requires_grad_(asks)
    inputs = [given_ for given_ in (x, weight) if given_.requires_grad]
    logits = F.linear(x, weight)
    picked, wanted = linear_at(x, weight, logits, chosen), logits.gather(1, chosen)
    same(picked, wanted)
    assert (picked.grad_fn.name() == "_LinearAtBackward") == (outputs >= MANY)
    grads = torch.autograd.grad(picked, inputs, probe, retain_graph=True)
    for a, b in zip(grads, torch.autograd.grad(wanted, inputs, probe), strict=True):
        same(a, b)


def test_no_item_at_all():
    x, weight, chosen, _ = case(0, 2, 4)
    linear_at(x, weight, F.linear(x, weight), chosen).sum().backward()
    assert x.grad.shape == x.shape
    assert not weight.grad.any()


@pytest.mark.parametrize("probe", ["of a sum", "turned over"])
def test_with_any_strides(probe):
    x, weight, chosen, _ = case(9, 3, 4)
    turned = [t.detach().t().contiguous().t().requires_grad_() for t in (x, weight)]
    strided = chosen.t().contiguous().t()
    grad = torch.ones(()).double().expand(9, 3)
    if probe == "turned over":
        grad = torch.randn(3, 9, dtype=torch.float64).t()
    picked = linear_at(*turned, F.linear(*turned), strided)
    wanted = F.linear(x, weight).gather(1, chosen)
    ours = torch.autograd.grad(picked, turned, grad)
    theirs = torch.autograd.grad(wanted, [x, weight], grad.contiguous())
    for a, b in zip(ours, theirs, strict=True):
        same(a, b)


def router_of(num_experts=MANY, **options):
    torch.manual_seed(0)
    return routers.build("topk", 5, num_experts, **options).double()


@pytest.mark.parametrize("weighting", ["renormalized", "probability"])
@pytest.mark.parametrize("reads_all", [False, True])
@pytest.mark.parametrize("k", [2, 4])
def test_a_router_gets_the_dense_gradient(k, reads_all, weighting):
    """Also where a loss reads all logits: then the gate gets the sum of both."""
    router = router_of(k=k, weighting=weighting)
    x = torch.randn(12, 5, dtype=torch.float64).requires_grad_()
    probe = torch.randn(12, k, dtype=torch.float64)

    def gradients(weight, logits):
        loss = (weight.view(12, k) * probe).sum()
        if reads_all:
            loss = loss + logits.logsumexp(1).square().mean()
        return torch.autograd.grad(loss, [x, router.gate.weight])

    routing = router(Items(x))
    sparse = gradients(routing.weight, routing.logits)
    logits = F.linear(x, router.gate.weight)
    chosen = logits.topk(k).indices
    if weighting == "renormalized":
        weight = logits.gather(1, chosen).softmax(1)
    else:
        weight = logits.softmax(1).gather(1, chosen)
    same(routing.weight, weight.flatten())
    for a, b in zip(sparse, gradients(weight, logits), strict=True):
        same(a, b)


@pytest.mark.parametrize(("num_experts", "dense"), [(MANY, False), (MANY - 1, True)])
def test_backward_builds_no_matrix_of_all_scores(num_experts, dense):
    router = router_of(num_experts)
    x = torch.randn(12, 5, dtype=torch.float64).requires_grad_()
    with Made() as forward:
        routing = router(Items(x))
    assert (12, num_experts) in forward.shapes
    with Made() as backward:
        routing.weight.square().sum().backward()
    largest = max(torch.Size(shape).numel() for shape in backward.shapes)
    assert ((12, num_experts) in backward.shapes) == dense
    assert (largest >= 12 * num_experts) == dense
    assert router.gate.weight.grad.any()
    assert x.grad.any()


@pytest.mark.parametrize("num_experts", [255, 256])
def test_a_bias_is_added_and_learned(num_experts):
    router = router_of(num_experts, gate={"name": "linear", "bias": True})
    assert not router.gate.bias.any()
    torch.nn.init.normal_(router.gate.bias)
    x = torch.randn(5, 5, dtype=torch.float64)
    routing = router(Items(x))
    probe = torch.randn_like(routing.weight)
    inputs = [router.gate.weight, router.gate.bias]
    got = torch.autograd.grad((routing.weight * probe).sum(), inputs)
    logits = x @ router.gate.weight.t() + router.gate.bias
    chosen, expert = logits.topk(2)
    assert routing.expert.equal(expert.flatten())
    wanted = torch.autograd.grad((chosen.softmax(1).flatten() * probe).sum(), inputs)
    for a, b in zip(got, wanted, strict=True):
        same(a, b)


class Tempered(routers.GATES["linear"]):
    """A gate that inherits ``pick`` and overrides ``forward``."""

    def forward(self, items):
        return 3 * super().forward(items)


def tripled(gate, given, out):
    return 3 * out


@pytest.mark.parametrize("way", ["subclass", "hook"])
@pytest.mark.parametrize("num_experts", [255, 256])
def test_what_is_done_to_logits_reaches_the_gradient(way, num_experts):
    torch.manual_seed(0)
    router = routers.build("topk", 8, num_experts, k=2).double()
    if way == "hook":
        router.gate.register_forward_hook(tripled)
    else:
        weight = router.gate.weight
        router.gate = Tempered(8, num_experts).double()
        router.gate.weight = weight
    x = torch.randn(5, 8, dtype=torch.float64)
    routing = router(Items(x))
    probe = torch.randn_like(routing.weight)
    (got,) = torch.autograd.grad((routing.weight * probe).sum(), router.gate.weight)
    logits = 3 * x @ router.gate.weight.t()
    chosen = logits.gather(1, routing.expert.view(5, 2)).softmax(1).flatten()
    (wanted,) = torch.autograd.grad((chosen * probe).sum(), router.gate.weight)
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
