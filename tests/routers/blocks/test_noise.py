"""Noisy gates and the smooth load, compared with the formula and with samples."""

import math

import pytest
import torch

import routers
from routers import LOSSES, Items
from routers.blocks import NoisyLogits, top_k_probability


def random_scores(n: int, e: int, seed: int = 0) -> NoisyLogits:
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, n, e, generator=generator, dtype=torch.float64)
    std = torch.rand(n, e, generator=generator, dtype=torch.float64) + 0.3
    return NoisyLogits(clean, clean + noise * std, std)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_chance_by_the_formula(k):
    scores = random_scores(7, 5)
    found = top_k_probability(scores, k)
    for i in range(7):
        for e in range(5):
            others = sorted((scores.noisy[i, o].item() for o in range(5) if o != e), reverse=True)
            z = (scores.clean[i, e].item() - others[k - 1]) / scores.std[i, e].item()
            assert found[i, e].item() == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))))


@pytest.mark.parametrize("k", [1, 3])
def test_chance_by_redrawing_the_noise(k):
    scores = random_scores(3, 5, seed=1)
    found = top_k_probability(scores, k)
    draws = 20_000
    generator = torch.Generator().manual_seed(2)
    for e in range(5):
        noisy = scores.noisy.expand(draws, 3, 5).clone()
        noise = torch.randn(draws, 3, generator=generator, dtype=torch.float64)
        noisy[..., e] = scores.clean[:, e] + noise * scores.std[:, e]
        hit = (noisy.topk(k, -1).indices == e).any(-1).double().mean(0)
        # four standard errors of a fraction of 20,000 draws are at most 0.0142
        assert (hit - found[:, e]).abs().max() < 0.0142


def test_chance_is_one_where_every_expert_is_taken():
    assert (top_k_probability(random_scores(3, 4), 4) == 1).all()


def test_expected_load_sums_over_real_items():
    router = routers.build("noisy_topk", 4, 4).eval()
    x, mask = torch.randn(6, 4), torch.tensor([True, True, False, True, False, True])
    torch.testing.assert_close(
        router(Items(x, mask=mask)).expected_load, router(Items(x[mask])).expected_load
    )


def test_noise_is_drawn_in_training_only():
    torch.manual_seed(0)
    router = routers.build("noisy_topk", 4, 6)
    items = Items(torch.randn(5, 4))
    assert not torch.equal(router(items).logits, router(items).logits)
    router.eval()
    torch.testing.assert_close(router(items).logits, router.scores.gate(items))


def test_noise_has_the_learned_scale():
    router = routers.build("noisy_topk", 2, 2, gate={"name": "linear", "scale": 0.0})
    with torch.no_grad():
        router.scores.spread.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    torch.manual_seed(0)
    logits = router(Items(torch.tensor([[2.0, 0.0]]).repeat(20_000, 1))).logits
    # softplus(2) = 2.1269, softplus(-2) = 0.1269, and 0.01 so that it is never 0
    torch.testing.assert_close(logits.std(0), torch.tensor([2.1369, 0.1369]), rtol=0.02, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_zero_gate_has_finite_load_and_gradient(training):
    router = routers.build("noisy_topk", 4, 8, gate={"name": "linear", "scale": 0.0})
    routing = router.train(training)(Items(torch.randn(16, 4)))
    for name in ("load", "importance"):
        router.zero_grad()
        LOSSES[name](routing).backward(retain_graph=True)
        assert routing.expected_load.isfinite().all()
        assert router.scores.gate.weight.grad.isfinite().all()


def test_load_loss_pushes_from_the_crowded_expert():
    torch.manual_seed(0)
    router = routers.build("noisy_topk", 1, 3, k=2)
    with torch.no_grad():
        router.scores.gate.weight.copy_(torch.tensor([[1.0], [0.0], [0.0]]))
    LOSSES["load"](router(Items(torch.ones(64, 1)))).backward()
    slope = router.scores.gate.weight.grad.flatten()
    assert slope[0] > 0  # descending lowers the score of the first
    assert slope[1:].sum() < 0
