"""Sets of experts: exact marginals, and draws that follow them."""

from itertools import combinations

import pytest
import torch

import routers
from routers import ConfigError, Items
from routers.k_subset import draw, marginals

SIZES = [(1, 1), (3, 3), (1, 3), (5, 5)]


def listed(logits, least, k):
    """All sets as ``(sets, E)``, and their probabilities."""
    e = logits.shape[-1]
    sets = [s for size in range(least, k + 1) for s in combinations(range(e), size)]
    inside = torch.zeros(len(sets), e, dtype=logits.dtype)
    for row, members in enumerate(sets):
        inside[row, list(members)] = 1
    return inside, (inside @ logits).softmax(0)


@pytest.mark.parametrize(("least", "k"), SIZES)
def test_marginals_and_their_gradients_are_exact(least, k):
    torch.manual_seed(0)
    logits = (2 * torch.randn(5, dtype=torch.float64)).requires_grad_()
    inside, chance = listed(logits, least, k)
    found, wanted = marginals(logits.unsqueeze(0), least, k)[0], inside.t() @ chance
    torch.testing.assert_close(found, wanted)
    probe = torch.randn(5, dtype=torch.float64)
    slopes = (torch.autograd.grad((m * probe).sum(), logits)[0] for m in (found, wanted))
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize(("least", "k"), SIZES)
def test_draws_follow_the_distribution(least, k):
    torch.manual_seed(0)
    logits, n = torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0]), 20_000
    inside, chance = listed(logits, least, k)
    drawn = draw(logits.expand(n, 5), least, k).float()
    code = 2.0 ** torch.arange(5)
    for members, p in zip(inside, chance, strict=True):
        share = (drawn @ code == members @ code).float().mean()
        assert abs(share - p) <= 5 * (p * (1 - p) / n).sqrt() + 1e-6


def test_the_gradient_is_that_of_marginals_times_probabilities():
    torch.manual_seed(0)
    router = routers.build("k_subset", 4, 5, k=2).double().train()
    routing = router(Items(torch.randn(1, 4, dtype=torch.float64)))
    logits, probe = routing.logits, torch.randn(2, dtype=torch.float64)
    [found] = torch.autograd.grad((routing.weight * probe).sum(), logits, retain_graph=True)
    again = logits.detach().requires_grad_()
    chosen = routing.expert
    m, p = marginals(again, 2, 2)[0], again.softmax(-1)[0]
    smooth = (m * p.detach() + p)[chosen]  # where the weight is p, as the expert is drawn
    [wanted] = torch.autograd.grad((smooth * probe).sum(), again)
    torch.testing.assert_close(found, wanted)


def test_least_is_at_most_k():
    with pytest.raises(ConfigError, match=r"router\.least=3 is invalid: .*\[1, k=2\]"):
        routers.build("k_subset", 4, 5, k=2, least=3)
