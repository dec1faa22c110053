"""The contract of weightings that compare the gradients of the losses."""

from abc import abstractmethod

import torch
from torch import Tensor

from ._base import Weighting


class GramianWeighting(Weighting):
    """Weights computed from the inner products of the losses' gradients.

    ``sum_t a_t L_t`` with weights ``a`` of the Gramian ``G_st = <dL_s/dz, dL_t/dz>`` for the shared
    representation ``z``: the gradients end there, and the encoder is not passed twice. The weights
    are constants of the step. Where no gradient is kept, or one is not finite, it is the mean of
    the losses.
    """

    @abstractmethod
    def weights(self, gram: Tensor) -> Tensor:
        """The weights ``a``, ``(T,)``, of ``G``, ``(T, T)`` float64 on the CPU."""

    def forward(self, losses: Tensor, shared: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and shared.requires_grad):
            return losses.mean()
        found = (
            torch.autograd.grad(loss, shared, retain_graph=True, materialize_grads=True)[0]
            for loss in losses
        )
        gradients = torch.stack([gradient.flatten().double() for gradient in found])
        gram = (gradients @ gradients.t()).cpu()
        return losses @ self.weights(gram).to(losses) if gram.isfinite().all() else losses.mean()
