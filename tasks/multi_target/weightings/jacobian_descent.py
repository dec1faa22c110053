"""Weights of the losses as torchjd computes them from the inner products of their gradients.

These need the extra ``torchjd``. Of its other weightings, ``Mean`` is ``fixed``, ``MGDA`` is
``mgda`` and ``CAGrad`` is ``cagrad``, which need no extra; those that keep a state from step to
step (``GradVac``, ``PCD``) are missing, as a checkpoint would not hold it.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from routers import OptionError
from routers.plugins import needed

from ..targets import Target
from ._base import WEIGHTINGS
from ._gramian import GramianWeighting


class JacobianDescent(GramianWeighting):
    """Weights of a rule of torchjd, which maps a Gramian to weights."""

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__(targets)
        self.rule = self.build(needed("torchjd.aggregation", "torchjd", "task.weighting"))

    def build(self, torchjd: Any) -> Any:
        """The rule, of the module ``torchjd.aggregation``."""
        raise NotImplementedError

    def weights(self, gram: Tensor) -> Tensor:
        found: Tensor = self.rule(gram)
        return found


@WEIGHTINGS.register("upgrad")
class UPGrad(JacobianDescent):
    """The mean of the gradients, each projected to where no target gets worse (UPGrad).

    Source: Quinton and Rey 2024, 2406.16232, section 3 and proposition 1.

    >>> rule = UPGrad([Target("a", "binary"), Target("b", "binary")])
    >>> rule.weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]).double()).tolist()
    [1.0, 0.625]
    """

    def build(self, torchjd: Any) -> Any:
        return torchjd.UPGradWeighting(projector=on_dual_cone)


@WEIGHTINGS.register("dualproj")
class DualProj(JacobianDescent):
    """The mean gradient, projected to where no target gets worse (DualProj).

    Source: Lopez-Paz and Ranzato 2017, 1706.08840, equation 11, as 2406.16232 applies it.
    """

    def build(self, torchjd: Any) -> Any:
        return torchjd.DualProjWeighting(projector=on_dual_cone)


@WEIGHTINGS.register("pcgrad")
class PCGrad(JacobianDescent):
    """The sum of the gradients, each without its parts against others in a random order (PCGrad).

    Source: Yu et al. 2020, 2001.06782, algorithm 1.
    """

    def build(self, torchjd: Any) -> Any:
        return torchjd.PCGradWeighting()


@WEIGHTINGS.register("imtl_g")
class Impartial(JacobianDescent):
    """Weights by which the common gradient has equal projections on every gradient (IMTL-G).

    They sum to 1 and may be negative. Source: Liu et al. 2021, "Towards impartial multi-task
    learning"; with the pseudoinverse of 2406.16232, where gradients are linearly dependent.
    """

    def build(self, torchjd: Any) -> Any:
        return torchjd.IMTLGWeighting()


@WEIGHTINGS.register("aligned_mtl")
class Aligned(JacobianDescent):
    """The mean of the gradients after their principal components got equal lengths (Aligned-MTL).

    Source: Senushkin et al. 2023, "Independent component alignment for multi-task learning",
    algorithm 1.

    Args:
        scale: which eigenvalue of the Gramian is the common length.
    """

    def __init__(
        self, targets: Sequence[Target], *, scale: Literal["min", "median", "rmse"] = "min"
    ) -> None:
        self.scale = scale
        super().__init__(targets)

    def build(self, torchjd: Any) -> Any:
        return torchjd.AlignedMTLWeighting(scale_mode=self.scale)


@WEIGHTINGS.register("fairgrad")
class FairGrad(JacobianDescent):
    """Weights by which the gains of targets are alpha-fair: ``G a = a^(-1 / alpha)`` (FairGrad).

    ``alpha=1`` solves the equation of Nash-MTL, Navon et al. 2022, 2202.01017, without the limit
    of the norm in its code. A target whose gradient is 0 has the weight 0. torchjd solves the
    equation by least squares, to about a thousandth of the norm of its sides.
    Source: Ban and Ji 2024, 2402.15638, equation 4.

    Args:
        alpha: fairness, above 0; large values favour the targets that gain least.

    >>> FairGrad([Target("a", "binary")] * 2).weights(torch.diag(torch.tensor([1.0, 4.0])).double())
    tensor([1.0000, 0.5000], dtype=torch.float64)
    """

    def __init__(self, targets: Sequence[Target], *, alpha: float = 1.0) -> None:
        if not 0 < alpha < float("inf"):
            raise OptionError("alpha", alpha, "a finite number > 0")
        self.alpha = alpha
        super().__init__(targets)

    def build(self, torchjd: Any) -> Any:
        return torchjd.FairGradWeighting(alpha=self.alpha)

    def weights(self, gram: Tensor) -> Tensor:
        found = torch.zeros_like(gram[0])
        real = gram.diagonal() > 0
        if real.any():  # the solver starts from weights that suit gradients of about length 1
            scale = gram.diagonal()[real].mean()
            solved = self.rule(gram[real][:, real] / scale)
            found[real] = solved * scale ** (-self.alpha / (1 + self.alpha))
        return found


@WEIGHTINGS.register("random")
class Random(JacobianDescent):
    """Random weights that sum to 1, drawn at each step: a baseline (RLW).

    Softmax of standard normal draws. Source: Lin et al. 2021, 2111.10603.
    """

    def build(self, torchjd: Any) -> Any:
        return torchjd.RandomWeighting()


def on_dual_cone(rows: Tensor, gram: Tensor) -> Tensor:
    """Weights of the projections of ``rows`` ``(..., T)`` to where no target gets worse.

    Each row ``u`` becomes ``argmin_v v' G v`` over ``v >= u``: proposition 1 of 2406.16232. As
    ``v = u + w`` with ``w >= 0`` it is a least squares problem without negative weights.
    """
    from scipy.optimize import nnls

    eigenvalues, vectors = torch.linalg.eigh(gram)
    root = (eigenvalues.clamp_min(0).sqrt() * vectors).t().numpy()
    flat = rows.reshape(-1, len(gram)).numpy()
    found = np.stack([row + nnls(root, -root @ row)[0] for row in flat])
    return torch.from_numpy(found).view_as(rows)
