"""Sparsemax and entmax compared with hand-computed numbers, each other and finite differences."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import routers
from routers import ConfigError, Items
from routers.blocks.sparse_projection import _by_bisection, entmax

ALPHAS = [1.05, 1.3, 1.5, 1.8, 2.0]


def wide(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_sparsemax_by_hand():
    # tau = (1 + .5 - 1) / 2 = .25 leaves -1 out; a lead of 1 takes all
    found = entmax(wide([1.0, 0.5, -1.0], [3.0, 2.0, 0.0]), 2.0)
    torch.testing.assert_close(found, wide([0.75, 0.25, 0.0], [1.0, 0.0, 0.0]))


def test_entmax_by_hand():
    # halves (.5, 0): 2 tau^2 - tau + .25 = 1 has the root -(7^.5 - 1) / 4; -1 / 2 stays below it
    tau = (1 - 7**0.5) / 4
    expected = wide([(0.5 - tau) ** 2, tau**2, 0.0])
    torch.testing.assert_close(entmax(wide([1.0, 0.0, -1.0]), 1.5), expected)


@settings(deadline=None, max_examples=40)
@given(
    alpha=st.sampled_from(ALPHAS),
    e=st.integers(1, 9),
    scale=st.sampled_from([1e-3, 1.0, 30.0, 1e4]),
    seed=st.integers(0, 999),
)
def test_it_is_the_optimum(alpha, e, scale, seed):
    """On the support ``h - p^(alpha - 1) / (alpha - 1)`` is one number, beyond it ``h`` is less."""
    torch.manual_seed(seed)
    logits = torch.randn(5, e, dtype=torch.float64) * scale
    p = entmax(logits, alpha)
    torch.testing.assert_close(p.sum(-1), torch.ones(5, dtype=torch.float64))
    assert (p >= 0).all()
    price = logits - p ** (alpha - 1) / (alpha - 1)
    level = price.masked_fill(p == 0, torch.inf).amin(-1, keepdim=True)
    tolerance = 1e-9 * (1 + logits.abs().amax(-1, keepdim=True))
    assert ((price - level).abs() <= tolerance).logical_or(p == 0).all()
    assert (logits <= level + tolerance).logical_or(p > 0).all()


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_sorting_finds_what_bisection_finds(alpha):
    torch.manual_seed(0)
    logits = torch.randn(300, 11, dtype=torch.float64) * torch.logspace(-2, 4, 300).unsqueeze(1)
    scaled = (alpha - 1) * (logits - logits.amax(-1, keepdim=True))
    tau, power = _by_bisection(scaled, 1 / (alpha - 1)), 1 / (alpha - 1)
    torch.testing.assert_close(entmax(logits, alpha), (scaled - tau).clamp_min(0) ** power)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_gradients(alpha):
    torch.manual_seed(0)
    logits = torch.randn(6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: entmax(given, alpha), logits)


def test_the_gradient_of_sparsemax_is_centred_on_the_support():
    logits = wide([1.0, 0.5, -1.0]).requires_grad_()
    (entmax(logits, 2.0) * wide([3.0, 1.0, 7.0])).sum().backward()
    assert logits.grad.tolist() == [[1.0, -1.0, 0.0]]  # 3 and 1 less their mean


def test_from_softmax_to_sparsemax():
    logits = wide([1.0, 0.3, -0.2, -3.0])
    sizes = [int((entmax(logits, alpha) > 0).sum()) for alpha in ALPHAS]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]
    torch.testing.assert_close(entmax(logits, 1.05), logits.softmax(-1), atol=0.02, rtol=0)


@pytest.mark.parametrize(("name", "options"), [("sparsemax", {}), ("entmax", {"alpha": 2.0})])
def test_the_support_is_the_selected_set(name, options):
    router = routers.build(name, 3, 3, **options)
    torch.nn.init.eye_(router.gate.weight)
    routing = router(Items(wide([1.0, 0.5, -1.0], [3.0, 2.0, 0.0])))
    assert routing.assigned_mask.tolist() == [[True, True, False], [True, False, False]]
    torch.testing.assert_close(routing.weight, wide([0.75, 1.0, 0.25])[0])  # expert by expert


def test_temperature_divides_the_scores():
    sharp = routers.build("sparsemax", 3, 3, temperature=0.5)
    torch.nn.init.eye_(sharp.gate.weight)
    assert sharp(Items(wide([1.0, 0.5, -1.0]))).probs.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_temperature_out_of_range(temperature):
    with pytest.raises(ConfigError, match=r"router\.temperature"):
        routers.build("sparsemax", 3, 3, temperature=temperature)


@pytest.mark.parametrize("alpha", [1.0, 2.1, float("nan")])
def test_alpha_out_of_range(alpha):
    with pytest.raises(ConfigError, match=r"router\.alpha=.*in \[1\.05, 2\]"):
        routers.build("entmax", 3, 3, alpha=alpha)
