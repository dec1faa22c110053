"""Bernoulli choice of experts, Dirichlet shares among them."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._router import ROUTERS, Router
from .blocks import normalized_sigmoid, softmax
from .gates import GateSpec
from .gumbel import Annealed
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("dirichlet")
class DirichletRouter(Router):
    """Each item draws which experts it uses, and separately how much each of them counts.

    ``z = sigma((h + l) / tau)`` with logistic noise ``l``, a relaxed Bernoulli draw; shares
    ``s ~ Dir(alpha)`` with ``alpha_e = c (z_e high_e(x) + (1 - z_e) low_e(x))``; weights
    ``z s / sum(z s)``, differentiable in all of these. In training all experts process all items.
    In evaluation there is no noise, shares are the means of ``Dir(alpha)``, and experts with
    ``z > 1/2`` stay, at least the best one: this part is ours.

    The loss ``divergence`` is the KL divergence of ``Dir(alpha)`` from a prior of constant ``high``
    and ``low``, under which ``k`` chosen experts have the share ``mass`` in expectation;
    ``cardinality`` keeps ``sum z`` near ``k``. Shares have the prior's distribution at the start.

    Source: DirMoE, Vahidi et al. 2026, 2602.09001, from a summary of the paper: its objective
    without the reconstruction of the item, and with a learned bias of ``h`` that is ours.

    Args:
        k: expected number of experts per item.
        mass: share of the chosen experts in the prior, in (0, 1).
        concentration: ``c``, > 0; large values make shares alike.
        temperature: initial ``tau``, which falls to ``floor`` at ``rate`` per step, as in
            ``gumbel``.

    >>> routing = DirichletRouter(4, 8, k=2).train()(Items(torch.randn(50, 4)))
    >>> 1 < routing.extras["surplus"].mean().item() + 2 < 3
    True
    """

    search_space = {"k": [1, 2, 4], "concentration": {"low": 1.0, "high": 20.0, "log": True}}
    default_losses = {"divergence": 0.01, "cardinality": 0.01}

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: float = 2.0,
        mass: float = 0.9,
        concentration: float = 5.0,
        temperature: float = 1.0,
        floor: float = 0.3,
        rate: float = 0.001,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        if not 0 < k <= num_experts:
            raise OptionError("k", k, f"a number in (0, num_experts={num_experts}]")
        if not 0 < mass < 1:
            raise OptionError("mass", mass, "a number in (0, 1)")
        if not 0 < concentration < math.inf:
            raise OptionError("concentration", concentration, "a finite number > 0")
        self.k = k
        self.concentration = concentration
        self.low_prior = min(1.0, (1 - mass) / mass * k / max(num_experts - k, 1e-9))
        self.temperature = Annealed(temperature, floor, rate)
        self.gate = self.build_gate(gate)
        share = min(k / num_experts, 0.95)
        self.bias = nn.Parameter(torch.full((num_experts,), math.log(share / (1 - share))))
        self.high = nn.Parameter(torch.zeros(num_experts, dim))
        self.low = nn.Parameter(torch.zeros(num_experts, dim))

    def forward(self, items: Items) -> Routing:
        x = items.x
        logits = self.gate(items) + self.bias.to(x.dtype)
        noisy = logits + _uniform_like(logits).logit() if self.training else logits
        noisy = noisy / self.temperature.value.to(x.dtype)
        z = noisy.sigmoid()
        alpha = self._alpha(z, _around_one(x, self.high), _around_one(x, self.low))
        keep, log_share = None, log_gamma_draws(alpha) if self.training else alpha.log()
        log_weight = F.logsigmoid(noisy) + log_share
        if not self.training:
            best = z.detach().argmax(1, keepdim=True)
            keep = (z.detach() > 0.5).scatter(1, best, True)
            log_weight = log_weight.masked_fill(~keep, -torch.inf)
        return Routing.by_mask(
            items,
            softmax(log_weight),
            keep,
            logits=logits,
            probs=normalized_sigmoid(logits),
            experts_per_item=float(self.k),
            extras={
                "divergence": dirichlet_divergence(alpha, self._alpha(z, 1.0, 1.0)),
                "surplus": z.sum(1) - self.k,
            },
        )

    def _alpha(self, z: Tensor, high: Tensor | float, low: Tensor | float) -> Tensor:
        """Concentrations ``(N, E)``, for factors of the prior's ``high`` of 1 and its ``low``."""
        return self.concentration * (z * high + (1 - z) * self.low_prior * low)

    def adapt(self, load: Tensor) -> None:
        if self.training:
            self.temperature.step()


def _around_one(x: Tensor, weight: Tensor) -> Tensor:
    """Positive factors ``(N, E)`` of items ``(N, D)``, 1 for weights of 0."""
    return (F.softplus(F.linear(x, weight.to(x.dtype))) / math.log(2)).clamp(0.1, 10)


def _uniform_like(values: Tensor) -> Tensor:
    return torch.rand_like(values).clamp(1e-6, 1 - 1e-6)


def log_gamma_draws(alpha: Tensor) -> Tensor:
    """Logarithms of draws from gamma distributions, differentiable in the shapes ``alpha``.

    ``(a + 2/3) (1 + n / (3 sqrt(a + 2/3)))^3 u^(1 / a)`` for a normal ``n`` and a uniform ``u``:
    the proposal of Marsaglia and Tsang 2000 (doi 10.1145/358407.358414) for ``a + 1``, of which
    its test would reject fewer than 1 in 20. So an item's draws depend on no other item.

    >>> shapes = torch.tensor([[0.5, 3.0]], dtype=torch.float64).expand(40000, 2)
    >>> [round(mean, 1) for mean in log_gamma_draws(shapes).exp().mean(0).tolist()]
    [0.5, 3.0]
    """
    shape = alpha + 2 / 3
    root = (1 + torch.randn_like(alpha) / (3 * shape.sqrt())).clamp_min(1e-3)
    return shape.log() + 3 * root.log() + _uniform_like(alpha).log() / alpha


def dirichlet_divergence(alpha: Tensor, prior: Tensor) -> Tensor:
    """KL divergence of ``Dir(alpha)`` from ``Dir(prior)``, ``(N, E)`` each, ``(N,)``.

    >>> one = torch.ones(1, 2)
    >>> round(dirichlet_divergence(2 * one, one).item(), 4)  # log 6 - 5 / 3
    0.1251
    """
    sums = alpha.sum(1).lgamma() - prior.sum(1).lgamma()
    each = prior.lgamma() - alpha.lgamma()
    mean_log = alpha.digamma() - alpha.sum(1, keepdim=True).digamma()
    return sums + (each + (alpha - prior) * mean_log).sum(1)
