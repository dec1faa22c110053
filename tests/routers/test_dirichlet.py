"""Dirichlet shares compared with the distributions of torch."""

import pytest
import torch
from torch.distributions import Dirichlet, Gamma, kl_divergence

import routers
from routers import ConfigError, Items
from routers.dirichlet import dirichlet_divergence, log_gamma_draws


@pytest.mark.parametrize("shape", [0.2, 1.0, 4.0])
def test_gamma_draws_have_the_moments(shape):
    torch.manual_seed(0)
    drawn = log_gamma_draws(torch.full((200_000,), shape, dtype=torch.float64)).exp()
    gamma = Gamma(shape, 1.0)
    assert drawn.mean().item() == pytest.approx(gamma.mean.item(), rel=0.02)
    assert drawn.std().item() == pytest.approx(gamma.stddev.item(), rel=0.05)


def test_divergence_is_that_of_torch():
    torch.manual_seed(0)
    one, other = (torch.rand(3, 4, dtype=torch.float64) * 5 + 0.1 for _ in range(2))
    wanted = kl_divergence(Dirichlet(one), Dirichlet(other))
    torch.testing.assert_close(dirichlet_divergence(one, other), wanted)


def test_the_prior_is_met_at_the_start_and_gives_chosen_experts_their_mass():
    router = routers.build("dirichlet", 4, 8, k=2, mass=0.9).double().eval()
    routing = router(Items(torch.randn(5, 4, dtype=torch.float64)))
    assert routing.extras["divergence"].abs().max() < 1e-12
    chosen = torch.zeros(1, 8, dtype=torch.float64)
    chosen[0, :2] = 1
    alpha = router._alpha(chosen, 1.0, 1.0)
    assert (alpha[0, :2].sum() / alpha.sum()).item() == pytest.approx(0.9)


@pytest.mark.parametrize("option", [{"k": 0.0}, {"mass": 1.0}, {"concentration": 0.0}])
def test_options_are_checked(option):
    with pytest.raises(ConfigError, match=rf"router\.{next(iter(option))}=.* is invalid"):
        routers.build("dirichlet", 4, 8, **option)
