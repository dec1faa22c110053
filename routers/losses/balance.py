"""Balance terms: functions from a routing to a scalar. Padding never counts.

A term that compares experts has up to three levels. The plain one looks at the batch;
``_sequence`` looks at each group of items alone and takes the mean over groups; ``_global`` looks
at a whole optimizer step, all micro-steps and ranks. ``load`` has no ``_sequence``: routers
estimate it per batch and not per group. ``z`` and ``entropy`` are means over items and the same
at every level.

Which suit which router: ``switch``, ``importance``, ``squared_deviation`` and ``diversity`` are
for routers whose items choose experts; where experts choose items or slots (``expert_choice``,
``soft_moe``) the load is even already. ``load`` needs the trait ``expects_load``, ``z`` the trait
``has_logits``. With groups as long as a batch ``_sequence`` is the plain term.
"""

from collections.abc import Callable
from functools import update_wrapper

import torch
from torch import Tensor

from ..plugins.errors import ConfigError
from ..plugins.registry import Registry
from ..routing.routing import Routing
from .levels import ExpertStatistics, of_batch, of_groups, of_step

Loss = Callable[[Routing], Tensor]

LOSSES: Registry[Tensor] = Registry("losses", base=None, group="switchyard.losses")


class OverStep:
    """A term that reads ``Routing.step``, which whoever trains has to sum."""

    reads_step = True

    def __init__(self, term: Loss) -> None:
        self.term = term
        update_wrapper(self, term)

    def __call__(self, routing: Routing) -> Tensor:
        return self.term(routing)


def reads_step(loss: Loss) -> bool:
    """Whether a term reads ``Routing.step``.

    >>> reads_step(switch), reads_step(switch_global)
    (False, True)
    """
    return getattr(loss, "reads_step", False)


# ---- CV^2 of the gate mass ----


@LOSSES.register("importance")
def importance(routing: Routing) -> Tensor:
    """``CV^2`` of the gate mass per expert (Shazeer et al. 2017, equations 6 and 7); 0 at best."""
    return cv_squared(of_batch(routing).importance)


@LOSSES.register("importance_sequence")
def importance_sequence(routing: Routing) -> Tensor:
    """``importance`` of each group, averaged; 0 at best."""
    return _mean(cv_squared(of_groups(routing).importance))


@LOSSES.register("importance_global")
@OverStep
def importance_global(routing: Routing) -> Tensor:
    """``importance`` of the whole step; 0 at best."""
    return cv_squared(of_step(routing).importance)


# ---- CV^2 of the expected load ----


@LOSSES.register("load")
def load(routing: Routing) -> Tensor:
    """``CV^2`` of the expected load (Shazeer et al. 2017, equations 10 and 11); 0 at best."""
    return _load("load", of_batch(routing))


@LOSSES.register("load_global")
@OverStep
def load_global(routing: Routing) -> Tensor:
    """``load`` of the whole step; 0 at best."""
    return _load("load_global", of_step(routing))


def _load(name: str, shares: ExpertStatistics) -> Tensor:
    if shares.expected_load is None:
        raise ConfigError(
            f"losses.{name}: this router's routings carry no expected load; "
            f"use losses.{name.replace('load', 'switch')}, or a router with the trait "
            "expects_load such as noisy_topk"
        )
    return cv_squared(shares.expected_load)


# ---- load times probability ----


@LOSSES.register("switch")
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
    shares = of_batch(routing)
    return _switch(shares.requested_load, shares.probs)


@LOSSES.register("switch_sequence")
def switch_sequence(routing: Routing) -> Tensor:
    """``switch`` of each group, averaged (DeepSeek-V3 2412.19437, equations 17 to 20).

    >>> from routers import Items
    >>> items = Items(torch.zeros(2, 1), groups=2)
    >>> probs = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> apart = Routing.by_item(
    ...     items, torch.tensor([[0], [1]]), torch.ones(2, 1), 2, probs=probs
    ... )
    >>> switch(apart).item(), switch_sequence(apart).item()
    (1.0, 2.0)
    """
    shares = of_groups(routing)
    return _mean(_switch(shares.requested_load, shares.probs))


@LOSSES.register("switch_global")
@OverStep
def switch_global(routing: Routing) -> Tensor:
    """``switch`` with ``f`` of the whole step so far and ``P`` of the batch (2501.11873).

    A sequence about one matter may then use few experts, where the step as a whole uses all.
    ``tasks`` sums ``Routing.step`` over micro-steps and ranks; in a loop of one's own:
    ``total += routers.step_sums(routing)``, and ``replace(routing, step=total)``. A routing
    without it is taken for the whole step.
    """
    return _switch(of_step(routing).requested_load, of_batch(routing).probs)


def _switch(fraction: Tensor, probs: Tensor) -> Tensor:
    return probs.shape[-1] * (fraction * probs).sum(-1)


# ---- the mean gate ----


@LOSSES.register("squared_deviation")
def squared_deviation(routing: Routing) -> Tensor:
    """``sum_e (1/E - mean_i G(x_i)_e)^2`` of the gate's distribution; 0 at best."""
    return _squared_deviation(of_batch(routing).probs)


@LOSSES.register("squared_deviation_sequence")
def squared_deviation_sequence(routing: Routing) -> Tensor:
    """``squared_deviation`` of each group, averaged; 0 at best."""
    return _mean(_squared_deviation(of_groups(routing).probs))


@LOSSES.register("squared_deviation_global")
@OverStep
def squared_deviation_global(routing: Routing) -> Tensor:
    """``squared_deviation`` of the whole step; 0 at best."""
    return _squared_deviation(of_step(routing).probs)


def _squared_deviation(mean: Tensor) -> Tensor:
    return (mean - 1 / mean.shape[-1]).square().sum(-1)


@LOSSES.register("diversity")
def diversity(routing: Routing) -> Tensor:
    """``log E`` minus the entropy of the mean gate, in nats: minimised, all experts are used."""
    return _diversity(of_batch(routing).probs)


@LOSSES.register("diversity_sequence")
def diversity_sequence(routing: Routing) -> Tensor:
    """``diversity`` of each group, averaged; 0 at best."""
    return _mean(_diversity(of_groups(routing).probs))


@LOSSES.register("diversity_global")
@OverStep
def diversity_global(routing: Routing) -> Tensor:
    """``diversity`` of the whole step; 0 at best."""
    return _diversity(of_step(routing).probs)


def _diversity(mean: Tensor) -> Tensor:
    share = mean / mean.sum(-1, keepdim=True).clamp_min(torch.finfo(mean.dtype).tiny)
    return torch.log(share.new_tensor(share.shape[-1])) - entropies(share)


# ---- means over items ----


@LOSSES.register("z")
def z(routing: Routing) -> Tensor:
    """``mean_i logsumexp(h_i)^2`` (ST-MoE 2202.08906, equation 5): keeps logits small.

    Of several gates or heads the mean over all of them.
    """
    if routing.log_partition is None:
        raise ConfigError(
            "losses.z: this router has no logits to keep small; remove losses.z, "
            "or choose a router with the trait has_logits"
        )
    square = routing.unpadded(routing.log_partition).square()
    return _mean(square if square.dim() == 1 else square.mean(1))


@LOSSES.register("entropy")
def entropy(routing: Routing) -> Tensor:
    """Mean entropy of the items' gates in nats: minimised, each item decides sharply."""
    return _mean(entropies(routing.unpadded(routing.probs)))


# ---- arithmetic ----


def cv_squared(values: Tensor) -> Tensor:
    """Squared coefficient of variation along the last axis, with the population variance.

    No square root is taken, so that the gradient at perfect balance is 0 and not NaN.

    >>> round(cv_squared(torch.tensor([1.0, 3.0])).item(), 6)
    0.25
    """
    tiny = torch.finfo(values.dtype).tiny
    mean = values.mean(-1, keepdim=True)
    return (values - mean).square().mean(-1) / mean.squeeze(-1).square().clamp_min(tiny)


def entropies(probs: Tensor) -> Tensor:
    """Entropy along the last axis in nats; 0 log 0 is 0, with a finite gradient."""
    tiny = torch.finfo(probs.dtype).tiny
    return -(probs * probs.clamp_min(tiny).log()).sum(-1)


def _mean(values: Tensor) -> Tensor:
    """Mean over the first axis; 0 where it is empty."""
    return values.sum(0) / max(values.shape[0], 1)
