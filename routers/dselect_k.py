"""DSelect-k: differentiable selectors in a binary code of the experts."""

import math

import torch
from torch import Tensor

from ._router import ROUTERS, Router, Traits
from .blocks import check_k
from .gates import GateSpec
from .plugins import OptionError
from .routing import Items, Routing


@ROUTERS.register("dselect_k")
class DSelectK(Router):
    """K selectors each encode an expert in binary; a softmax mixes the selected experts.

    ``w = sum_s softmax(a)_s r_s`` and ``r_se = prod_b S(z_sb)`` where bit ``b`` of ``e`` is 1,
    ``1 - S(z_sb)`` where it is 0, over ``ceil(log2 E)`` bits. The smooth step
    ``S(t) = -2 t^3 / gamma^3 + 3 t / (2 gamma) + 1 / 2`` is exactly 0 below ``-gamma / 2`` and 1
    above ``gamma / 2``: the selection is differentiable, and sparse once the bits have
    converged; before, an item may have up to ``E`` experts. If ``E`` is not a power of two, some
    codes have no expert, and weights may sum to less than one.

    Source: Hazimeh et al. 2021, 2106.03760. This is the per-example form, where a
    gate computes ``z`` and ``a``, not the static form with the same experts for all items.

    Args:
        k: number of selectors ``S``, the maximum of experts per item after convergence.
        gamma: width of the smooth step, > 0; bits outside have no gradient, so it is large
            compared with the initial scores.
        gate: computes ``z`` and ``a``.

    >>> router = DSelectK(4, 8, k=1)
    >>> torch.nn.init.constant_(router.gate.weight, 9.0).shape  # all bits are 1: expert 7
    torch.Size([4, 4])
    >>> router(Items(torch.ones(2, 4))).expert.tolist()
    [7, 7]
    """

    traits = Traits(has_logits=False)
    # below 1 most bits of a new gate lie outside of the step and have no gradient
    search_space = {"k": [1, 2, 4], "gamma": {"low": 1.0, "high": 10.0, "log": True}}
    default_losses = {"selector_entropy": 0.01, "selector_reach": 0.01}

    bits: Tensor

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        k: int = 2,
        gamma: float = 5.0,
        gate: GateSpec = "linear",
    ) -> None:
        super().__init__(dim, num_experts)
        check_k(k, num_experts)
        if not 0 < gamma < math.inf:
            raise OptionError("gamma", gamma, "a finite number > 0")
        self.k, self.gamma = k, gamma
        width = (num_experts - 1).bit_length()
        number, bit = torch.arange(num_experts).unsqueeze(1), torch.arange(width)
        self.register_buffer("bits", (number >> bit & 1).bool())
        self.gate = self.build_gate(gate, k * (width + 1))
        self.set_traits(convex=num_experts == 2**width)

    def forward(self, items: Items) -> Routing:
        scores = self.gate(items).view(-1, self.k, self.bits.shape[1] + 1)
        on = smooth_step(scores[..., :-1] / self.gamma).unsqueeze(2)
        selectors = torch.where(self.bits, on, 1 - on).prod(-1)  # (N, S, E)
        weight = (scores[..., -1:].softmax(1) * selectors).sum(1)
        total = weight.sum(-1, keepdim=True)
        probs = weight / torch.where(total > 0, total, 1.0)
        return Routing.by_mask(
            items, weight, keep=weight > 0, probs=probs, extras={"selectors": selectors}
        )


def smooth_step(t: Tensor) -> Tensor:
    """A cubic step: 0 below -1/2, 1 above 1/2, with a continuous slope.

    >>> smooth_step(torch.tensor([-0.5, 0.0, 0.25, 2.0])).tolist()
    [0.0, 0.5, 0.84375, 1.0]
    """
    t = t.clamp(-0.5, 0.5)
    return t * (1.5 - 2 * t.square()) + 0.5
