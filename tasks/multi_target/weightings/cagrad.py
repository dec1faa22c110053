"""Weights of the gradient that avoids conflicts near the mean gradient."""

import math
from collections.abc import Sequence

from torch import Tensor

from routers import OptionError

from ..targets import Target
from ._base import WEIGHTINGS
from ._gramian import GramianWeighting


@WEIGHTINGS.register("cagrad")
class CAGrad(GramianWeighting):
    """The direction near the mean gradient that is best for the target it helps least (CAGrad).

    With the mean gradient ``g0`` the direction is ``g0 + c |g0| / |g_w| g_w``, where the convex
    combination ``g_w`` of the gradients minimizes ``<g_w, g0> + c |g0| |g_w|``. ``c=0`` is the
    mean. The direction is not divided by a function of ``c``, as some implementations do.
    Source: Liu et al. 2021, 2110.14048, algorithm 1.

    Args:
        c: largest distance from the mean gradient, relative to its norm, from 0; below 1 it
            converges as the mean does.

    >>> from torch import tensor
    >>> rule = CAGrad([Target("a", "binary"), Target("b", "binary")], c=0.5)
    >>> rule.weights(tensor([[1.0, 0.0], [0.0, 1.0]]).double()).tolist()
    [0.75, 0.75]
    """

    def __init__(self, targets: Sequence[Target], *, c: float = 0.5) -> None:
        if not 0 <= c < math.inf:
            raise OptionError("c", c, "a finite number >= 0")
        super().__init__(targets)
        self.c = c

    def weights(self, gram: Tensor) -> Tensor:
        from scipy.optimize import minimize

        size = math.sqrt(gram.mean().clamp_min(0).item())  # |g0|
        mean = gram.new_full((len(gram),), 1 / len(gram))
        if size <= 1e-12 * math.sqrt(gram.trace().item()):
            return mean  # no direction is near: the mean gradient is 0
        scaled = (gram / size**2).numpy()

        def objective(w: Tensor) -> float:
            near = max(float(w @ scaled @ w), 0.0)
            return float(w @ scaled.mean(1)) + self.c * math.sqrt(near)

        found = minimize(
            objective,
            mean.numpy(),
            method="SLSQP",
            bounds=[(0, 1)] * len(gram),
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-12, "maxiter": 1000},
        )
        w = gram.new_tensor(found.x)
        length = (w @ gram @ w).clamp_min(0).sqrt()
        return mean if length <= 1e-9 * size else mean + self.c * size / length * w
