"""The entries of a router's state that belong to each expert, found without a declaration."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor

from routers import ConfigError, Router
from routers.plugins import fill, named_state, rebuilt

from .._bank import EXPERTS
from ..layers.moe import MoE

#: Entries along an axis of the experts ``index`` of ``E``, for an axis of this size.
Layout = Callable[[Sequence[int], int, int], list[int]]


def expert_by_expert(index: Sequence[int], experts: int, size: int) -> list[int]:
    """All entries of expert 0, then those of expert 1 and so on.

    >>> expert_by_expert([1], experts=3, size=6)
    [2, 3]
    """
    per = size // experts
    return [expert * per + entry for expert in index for entry in range(per)]


def all_experts_in_turn(index: Sequence[int], experts: int, size: int) -> list[int]:
    """The first entry of every expert, then the second of every expert and so on.

    >>> all_experts_in_turn([1], experts=3, size=6)
    [1, 4]
    """
    return [turn * experts + expert for turn in range(size // experts) for expert in index]


def experts_first(index: Sequence[int], experts: int, size: int) -> list[int]:
    """An entry for every expert, then those of no expert.

    >>> experts_first([1], experts=3, size=5)
    [1, 3, 4]
    """
    return [*index, *range(experts, size)]


class RouterState(NamedTuple):
    """The entries of a router's state by expert.

    Attributes:
        experts: ``E``.
        axes: by name of a tensor that has entries of experts: the axis, and its size.
        layout: places of the entries along these axes.
    """

    experts: int
    axes: dict[str, tuple[int, int]]
    layout: Layout

    def selections(self, index: Sequence[int]) -> dict[str, tuple[int, list[int]]]:
        """Axis and entries of the experts ``index``, by name of a tensor."""
        return {
            name: (axis, self.layout(index, self.experts, size))
            for name, (axis, size) in self.axes.items()
        }


def router_state(router: Router) -> RouterState:
    """Find the entries of every expert in the state of a router.

    The axis over experts of a tensor is the one whose size changes when the router is built with
    another number of experts. Of the possible layouts along it one is taken that passes a test:
    if experts and their entries are permuted, outputs for random items stay as they are.

    Raises:
        ConfigError: if shapes depend on the number of experts otherwise, or no layout passes,
            since the router treats experts differently by their number.

    >>> import routers
    >>> router_state(routers.build("topk", 8, 4)).selections([2])
    {'gate.weight': (0, [2])}
    """
    experts = router.num_experts
    linear = _linear_sizes(router)
    axes = {name: (axis, size) for name, (axis, size, _, _) in linear.items()}
    if not any(True for _ in named_state(router)):  # experts are known by their numbers alone
        return RouterState(experts, axes, expert_by_expert)
    proportional = all(offset == 0 for _, _, _, offset in linear.values())
    single = all(slope == 1 for _, _, slope, _ in linear.values())
    fitting = [expert_by_expert, all_experts_in_turn] if proportional else []
    if not proportional and single:
        fitting = [experts_first]
    for layout in fitting:
        state = RouterState(experts, axes, layout)
        if _keeps_outputs(router, state):
            return state
    raise ConfigError(
        f"{_named(router)}: its experts are not interchangeable, since it selects them by their "
        f"number or by groups of them; {_CURE}"
    )


_CURE = "edit a network with another router, such as topk, or give the router a method take_experts"


def _named(router: Router) -> str:
    return f"router {type(router).__name__}"


def _linear_sizes(router: Router) -> dict[str, tuple[int, int, int, int]]:
    """Axis, size, slope and offset of tensors whose size is ``slope * E + offset``."""
    found = dict[str, tuple[int, int, int, int]]()
    others = _other_shapes(router)
    for name, values in named_state(router):
        shapes = [shapes.get(name) for shapes in others.values()]
        if any(shape is None or len(shape) != values.dim() for shape in shapes):
            raise _unclear(router, name, values.shape)
        changed = {
            axis
            for shape in shapes
            for axis in range(values.dim())
            if shape is not None and shape[axis] != values.shape[axis]
        }
        if not changed:
            continue
        axis, experts = min(changed), router.num_experts
        size = values.shape[axis]
        slopes = {
            (shapes[name][axis] - size) / (number - experts) for number, shapes in others.items()
        }
        slope = int(min(slopes))
        offset = size - slope * experts
        if len(changed) > 1 or slopes != {slope} or slope < 1 or offset < 0:
            raise _unclear(router, name, values.shape)
        found[name] = axis, size, slope, offset
    return found


def _other_shapes(router: Router) -> dict[int, dict[str, torch.Size]]:
    """Shapes of the state by name, for two other numbers of experts."""
    experts, found = router.num_experts, dict[int, dict[str, torch.Size]]()
    for number in range(experts + 1, 4 * experts + 8):
        with suppress(ConfigError):
            built = rebuilt(router, num_experts=number)
            found[number] = {name: values.shape for name, values in named_state(built)}
        if len(found) == 2:
            return found
    raise ConfigError(
        f"{_named(router)}: cannot be built with other numbers of experts than {experts}, so "
        f"which of its state belongs to an expert is unclear; {_CURE}"
    )


def _unclear(router: Router, name: str, shape: torch.Size) -> ConfigError:
    return ConfigError(
        f"{_named(router)}: {name} of shape {tuple(shape)} has no axis with an entry for each of "
        f"{router.num_experts} experts, so which belong to an expert is unclear; {_CURE}"
    )


@torch.no_grad()
def _keeps_outputs(router: Router, state: RouterState) -> bool:
    """Whether outputs stay if experts and their entries are permuted."""
    experts = state.experts
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        probe = deepcopy(router).cpu().double().eval()
        for _, values in named_state(probe):  # equal scores have no order
            if values.is_floating_point() and values.dim():
                values.add_(torch.randn_like(values) * 0.1)
        bank = EXPERTS.build("mlp", router.dim, experts, hidden=2).double().eval()
        x = torch.randn(2, 8, router.dim, dtype=torch.float64)
        orders = [torch.randperm(experts).tolist(), [*range(1, experts), 0]]
        results = [_outputs(MoE(probe, bank), x)]
        for order in orders:
            twin = rebuilt(probe, num_experts=experts)
            fill(twin, probe, state.selections(order))
            results.append(_outputs(MoE(twin, bank.take_experts(order)), x))
    return all(torch.allclose(results[0], other, rtol=1e-7, atol=1e-9) for other in results[1:])


def _outputs(layer: MoE, x: Tensor) -> Tensor:
    ids = torch.arange(x.shape[:2].numel()).view(x.shape[:2])
    y: Tensor = layer.eval()(x, ids=ids, task=torch.zeros_like(ids))[0]
    return y
