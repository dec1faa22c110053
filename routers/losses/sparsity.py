"""Terms of routers that learn how many experts an item gets; each only for the one that says so."""

import torch
from torch import Tensor

from ..plugins.errors import ConfigError
from ..routing.routing import Routing
from .balance import LOSSES, entropies
from .levels import of_batch

#: Mass below which its inverse goes on in a straight line: finite, and never without a slope.
_LITTLE = 1e-2


@LOSSES.register("sparsity")
def sparsity(routing: Routing) -> Tensor:
    """``lambda mean_i sum_e w_ie``: gate mass at its current price (ReMoE 2412.14711, section 3.3).

    The price ``lambda`` is the routing's own. The router raises it while more experts are active
    than it aims at, and lowers it while fewer are, so the weight of this term is 1.
    """
    return _summed([_price(gate) * of_batch(gate).importance.sum() for gate in _gates(routing)])


@LOSSES.register("balanced_sparsity")
def balanced_sparsity(routing: Routing) -> Tensor:
    """``lambda E sum_e f_e mean_i w_ie``: ``sparsity``, dearer for busy experts.

    ``f`` is the fraction of all assignments, as in ``switch``; source: ReMoE 2412.14711, section
    3.4. At balance it equals ``sparsity``. It has no ``_sequence``, for the price answers to
    all items and not to a group's; and no ``_global``, for each of several gates has its own
    price and shares, and ``Routing.step`` holds the sums over all gates.

    >>> from routers import Items
    >>> items = Items(torch.zeros(2, 1))
    >>> weight = torch.tensor([[3.0, 1.0], [2.0, 0.0]])
    >>> price = torch.tensor(0.1)
    >>> one = Routing.by_mask(items, weight, keep=weight > 0, sparsity_coefficient=price)
    >>> [round(term(one).item(), 4) for term in (sparsity, balanced_sparsity)]
    [0.3, 0.3667]
    """
    return _summed(
        [
            _price(gate) * gate.num_experts * (share.requested_load * share.importance).sum()
            for gate, share in ((gate, of_batch(gate)) for gate in _gates(routing))
        ]
    )


@LOSSES.register("selector_entropy")
def selector_entropy(routing: Routing) -> Tensor:
    """Mean entropy of an item's selectors in nats, summed over them: each settles on one expert.

    Source: DSelect-k, 2106.03760.
    """
    return _summed([_mean(entropies(s)) for s in _selectors(routing, "selector_entropy")])


@LOSSES.register("selector_reach")
def selector_reach(routing: Routing) -> Tensor:
    """``mean_i sum_s (1 / sum_e r_ise - 1)``: no selector points to where no expert is.

    Experts number fewer than codes where they are no power of two. Source: DSelect-k,
    2106.03760; less 1 here, so that it is 0 at best, and below a mass of 0.01 the inverse is
    continued by its tangent, up to 199.

    >>> from routers import Items
    >>> far = torch.tensor([[[0.5, 0.25]], [[0.0, 0.005]]])
    >>> routing = Routing.by_mask(Items(torch.zeros(2, 1)), far.squeeze(1), selectors=far)
    >>> round(selector_reach(routing).item(), 4)  # the mean of 4 / 3 and 150, less 1
    74.6667
    """
    found = [_inverse(s.sum(-1)) for s in _selectors(routing, "selector_reach")]
    return _summed([_mean(inverse - 1) for inverse in found])


def _inverse(mass: Tensor) -> Tensor:
    much = mass.clamp_min(_LITTLE)
    return torch.where(mass < _LITTLE, (2 - mass / _LITTLE) / _LITTLE, 1 / much)


def _gates(routing: Routing) -> tuple[Routing, ...]:
    return routing.gates or (routing,)


def _price(routing: Routing) -> Tensor:
    if routing.sparsity_coefficient is None:
        raise ConfigError(
            "losses.sparsity, losses.balanced_sparsity: this router's gate mass has no price; "
            "use losses.entropy, or router=relu"
        )
    return routing.sparsity_coefficient


def _selectors(routing: Routing, name: str) -> list[Tensor]:
    """Those of each gate over real items, ``(N, S, E)``."""
    found = [gate.unpadded(s) for gate in _gates(routing) if (s := gate.selectors) is not None]
    if not found:
        raise ConfigError(
            f"losses.{name}: this router has no selectors; use losses.entropy, or router=dselect_k"
        )
    return found


def _mean(of_selectors: Tensor) -> Tensor:
    """``(N, S)``: the mean over items of the sum over selectors; 0 without items."""
    return of_selectors.sum() / max(len(of_selectors), 1)


def _summed(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()
