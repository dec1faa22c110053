"""A layer with a selection of the experts of another."""

from collections.abc import Sequence
from copy import deepcopy
from functools import singledispatch

from torch import nn

from routers import ConfigError, OptionError, Router
from routers.plugins import fill, rebuilt

from ..layers.moe import MoE
from ..layers.multi_gate import Gates
from ..layers.rounds import Rounds
from ..layers.topology import GateBranch, GateTopology
from .router_state import router_state


def take_experts(layer: MoE, index: Sequence[int], heirs: Sequence[int] | None = None) -> MoE:
    """A layer whose expert ``i`` is a copy of expert ``index[i]`` of ``layer``, which stays.

    Router and experts are copied with parameters and buffers; what experts share is kept. Removed
    experts lose their items to others as the router selects them then. A repeated expert has
    copies with equal scores.

    With all experts in their order, outputs are equal to the last bit; with all of them in any
    order up to rounding; with copies only where the router shares an expert's items among them,
    as ``hash`` does.

    Args:
        layer: a layer with one or several gates.
        index: experts of ``layer``, one or more, in any order and with repeats.
        heirs: for each expert of ``layer`` the new expert that takes over its items if it is
            removed, for routers that assign items by a table; None to distribute them evenly.

    Raises:
        ConfigError: if an expert does not exist, the router or bank has no way to select experts,
            or an option of the router, such as ``k``, is invalid for so many.

    >>> import experts, routers, torch
    >>> layer = MoE(routers.build("topk", 8, 4, k=2), experts.build("mlp", 8, 4))
    >>> take_experts(layer, [3, 0]).router.num_experts
    2
    """
    experts = layer.router.num_experts
    for expert in index:
        if not 0 <= expert < experts:
            raise OptionError("index", expert, f"an integer in [0, {experts - 1}]")
    if not index:
        raise OptionError("index", [], "one or more experts")
    check_plain(layer)
    if list(index) == list(range(experts)):
        return deepcopy(layer)
    return layer.with_parts(take_router(layer.router, index, heirs), layer.bank.take_experts(index))


def check_plain(layer: nn.Module) -> None:
    """Raise ``ConfigError`` if parameters are split or sharded over processes."""
    if any(type(parameter) is not nn.Parameter for parameter in layer.parameters()):
        raise ConfigError(
            "the parameters of the layer are split or sharded; change its experts before "
            "parallelize and fully_shard_layers"
        )


@singledispatch
def take_router(router: Router, index: Sequence[int], heirs: Sequence[int] | None = None) -> Router:
    """A router over experts ``index`` of ``router``; arguments are those of ``take_experts``."""
    own = router.take_experts(index, heirs)
    if own is not None:
        return own
    state = router_state(router)  # the reason why it has none comes first
    return fill(rebuilt(router, num_experts=len(index)), router, state.selections(index))


@take_router.register
def _take_rounds(
    rounds: Rounds, index: Sequence[int], heirs: Sequence[int] | None = None
) -> Router:
    """The same of the router of every round."""
    taken = [take_router(router, index, heirs) for router in rounds.each()]
    return Rounds(taken).train(rounds.training)


@take_router.register
def _take_gates(gates: Gates, index: Sequence[int], heirs: Sequence[int] | None = None) -> Router:
    """The same of every gate, over those of its experts that are taken."""
    old, taken, branches = gates.topology, list[Router](), list[GateBranch]()
    for gate, branch in zip(gates.gates, old.branches, strict=True):
        places = [place for place, expert in enumerate(index) if expert in branch.experts]
        if not places:
            raise ConfigError(
                f"experts {list(index)} leave a gate without experts: it selects among "
                f"{list(branch.experts)}; keep one of these"
            )
        assert isinstance(gate, Router)
        own_heirs = None
        if heirs is not None and all(heirs[expert] in places for expert in branch.experts):
            own_heirs = [places.index(heirs[expert]) for expert in branch.experts]
        own = [branch.experts.index(index[place]) for place in places]
        taken.append(take_router(gate, own, own_heirs))
        branches.append(GateBranch(branch.reads, tuple(places)))
    sources = tuple(old.sources[expert] for expert in index)
    topology = GateTopology(old.streams, sources, tuple(branches))
    return Gates(taken, topology).train(gates.training)
