"""Balance terms: functions from a routing to a scalar. Padding never counts."""

from collections.abc import Callable

import torch
from torch import Tensor

from ._errors import ConfigError
from ._registry import Registry
from ._routing import Routing

Loss = Callable[[Routing], Tensor]

losses = Registry("losses", base=None, group="switchyard.losses")


def cv_squared(values: Tensor) -> Tensor:
    """Squared coefficient of variation with the population variance, a scalar.

    No square root is taken, so that the gradient at perfect balance is 0 and not NaN.

    >>> round(cv_squared(torch.tensor([1.0, 3.0])).item(), 6)
    0.25
    """
    mean = values.mean()
    tiny = torch.finfo(values.dtype).tiny
    return values.var(correction=0) / mean.square().clamp_min(tiny)


@losses.register("importance")
def importance(routing: Routing) -> Tensor:
    """``CV^2`` of the gate mass per expert (Shazeer et al. 2017, equations 6 and 7); 0 at best."""
    return cv_squared(routing.importance)


@losses.register("load")
def load(routing: Routing) -> Tensor:
    """``CV^2`` of the expected load (Shazeer et al. 2017, equations 10 and 11); 0 at best."""
    if routing.expected_load is None:
        raise ConfigError(
            "losses.load: this router's routings carry no expected load; "
            "use losses.switch, or a router with the trait expects_load such as noisy_topk"
        )
    return cv_squared(routing.expected_load)


@losses.register("switch")
def switch(routing: Routing) -> Tensor:
    """``E sum_e f_e P_e`` (Switch 2101.03961, equation 4); 1 at balance.

    ``f`` is the fraction of all assignments, every choice counted and before any drop; ``P``
    is the mean probability over real items.

    >>> from routers import Items
    >>> items = Items(torch.zeros(2, 1))
    >>> even = Routing.by_item(
    ...     items, torch.tensor([[0], [1]]), torch.ones(2, 1), 2, logits=torch.zeros(2, 2)
    ... )
    >>> switch(even).item()
    1.0
    """
    probs = routing.over_real(routing.probs)
    fraction = routing.demand.to(probs.dtype) / routing.demand.sum().clamp_min(1)
    return routing.num_experts * (fraction * _mean(probs)).sum()


@losses.register("squared_deviation")
def squared_deviation(routing: Routing) -> Tensor:
    """``sum_e (1/E - mean_i G(x_i)_e)^2`` of the gate's distribution; 0 at best."""
    return (_mean(routing.over_real(routing.probs)) - 1 / routing.num_experts).square().sum()


@losses.register("z")
def z(routing: Routing) -> Tensor:
    """``mean_i logsumexp(h_i)^2`` (ST-MoE 2202.08906, equation 5): keeps logits small.

    Of several gates the mean over all of them.
    """
    if routing.log_partition is None:
        raise ConfigError(
            "losses.z: this router has no logits to keep small; remove losses.z, "
            "or choose a router with the trait has_logits"
        )
    square = routing.over_real(routing.log_partition).square()
    return _mean(square if square.dim() == 1 else square.mean(1))


@losses.register("entropy")
def entropy(routing: Routing) -> Tensor:
    """Mean entropy of the items' gates in nats: minimised, each item decides sharply."""
    return _mean(entropies(routing.over_real(routing.probs)))


@losses.register("diversity")
def diversity(routing: Routing) -> Tensor:
    """``log E`` minus the entropy of the mean gate, in nats: minimised, all experts are used."""
    mean = _mean(routing.over_real(routing.probs))
    share = mean / mean.sum().clamp_min(torch.finfo(mean.dtype).tiny)
    return torch.log(share.new_tensor(routing.num_experts)) - entropies(share)


def entropies(probs: Tensor) -> Tensor:
    """Entropy along the last axis in nats; 0 log 0 is 0, with a finite gradient."""
    tiny = torch.finfo(probs.dtype).tiny
    return -(probs * probs.clamp_min(tiny).log()).sum(-1)


def _mean(values: Tensor) -> Tensor:
    """Mean over the first axis; 0 where it is empty."""
    return values.sum(0) / max(values.shape[0], 1)
