"""Distance of the gate's distribution from that of the experts' responses."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..plugins.errors import ConfigError
from ..routing.routing import Routing
from ._base import LOSSES


@LOSSES.register("response_distance")
def response_distance(routing: Routing, outputs: Tensor, /) -> Tensor:
    """Mean squared distance of ``softmax(h)`` from ``softmax(a)``; 0 if the gate ranks by response.

    ``a_ie``, the response of expert ``e`` to item ``i``, is the mean of ``log(1 + exp(o))`` over
    its outputs ``o``, without a gradient. Both distributions are over the experts that work on the
    item: all, in a batch in which experts compete.

    Source: CompeteSMoE, Nguyen et al. 2025, 2505.13380, and its code; distributions over the
    selected experts, in other batches, are ours.

    >>> from routers import Items
    >>> outputs, logits = torch.tensor([[0.0], [30.0]]), torch.zeros(1, 2)
    >>> routing = Routing.by_mask(Items(torch.zeros(1, 1)), logits + 0.5, logits=logits)
    >>> round(response_distance(routing, outputs).item(), 4)  # of one half each from 0 and 1
    0.25
    """
    if routing.logits is None or routing.candidates is not None:
        raise ConfigError(
            "losses.response_distance: this router has no scores of all experts; remove the loss, "
            "or choose a router with the trait has_logits"
        )
    wide = outputs.detach().flatten(1).to(torch.promote_types(outputs.dtype, torch.float32))
    response = torch.zeros_like(routing.logits, dtype=wide.dtype)
    response[routing.item, routing.expert] = F.softplus(wide).mean(1)
    works = routing.assigned_mask
    gap = _softmax(routing.logits, works) - _softmax(response, works)
    return gap.square().sum() / works.sum().clamp_min(1)


def _softmax(scores: Tensor, among: Tensor) -> Tensor:
    """Softmax over the scores where ``among`` is True, 0 elsewhere."""
    scores = scores.masked_fill(~among, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) * among
