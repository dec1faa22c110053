"""Recorded routes replayed in the layers of a model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import nn

from routers import ConfigError, Items, Router, Routing
from routers.blocks import check_recorded, uncompiled
from routers.plugins import unknown
from routers.replay import AS_RECORDED, Replay, check_gate_learns, check_weighting, weigh

from ..layers.moe import MoE


@contextmanager
def replay(
    model: nn.Module, routes: Mapping[str, Sequence[Routing]], *, weighting: str = AS_RECORDED
) -> Iterator[None]:
    """Context manager: layers of a model assign their items as recorded, pass by pass.

    The n-th call of a layer has the n-th routing of its list, with experts, order and drops as
    ``experts.record`` kept them; layers that ``routes`` does not name route as always. Routings
    made elsewhere, such as ``Routing.by_item`` of an engine's table, do as well. Nothing more is
    dropped, by capacity, ``skip`` or ``expert_dropout``, but with the router ``replay``.

    Routers run all the same, so random draws are as without. A layer that activation
    checkpointing computes again has the routes of the last pass: call ``backward`` before the
    next pass. A model compiled by ``torch.compile`` must be replayed in its first call.

    Args:
        model: has the layers.
        routes: routings of each pass by the name of a layer, as ``record`` has them.
        weighting: ``recorded``: weights as they were; outputs of the layer that was recorded are
            then equal to the last bit. ``renormalized`` or ``probability``: from the scores of the
            layer's own router, as ``routers.replay.Replay`` describes, so that it learns; a
            router ``replay`` follows its own option.

    Raises:
        ConfigError: for a name of no layer, routes to other experts, by other gates or through
            slots, or scores that the router does not have; while a layer runs, for other items or
            missing passes.

    >>> import experts, routers
    >>> layer = MoE(routers.build("stochastic", 8, 4), experts.build("mlp", 8, 4))
    >>> x = torch.randn(5, 8)
    >>> with experts.record(layer) as routes:
    ...     y, _ = layer(x)
    >>> with replay(layer, routes):
    ...     torch.equal(layer(x)[0], y)
    True
    """
    layers = {name: each for name, each in model.named_modules() if isinstance(each, MoE)}
    replayers, held = {}, [layer.router for layer in layers.values()]
    for name, routings in routes.items():
        if name not in layers:
            raise unknown("routes", name, layers)
        if held.count(layers[name].router) > 1:
            raise ConfigError(
                f"layer {name!r}: shares its router with another layer, and passes of a router are "
                "counted; replay a model whose layers have a router each"
            )
        replayers[name] = Replayer(name, layers[name], list(routings), weighting)
    with ExitStack() as stack:
        for name, replayer in replayers.items():
            layer = layers[name]
            stack.callback(layer.router.register_forward_pre_hook(replayer.give).remove)
            if not layer.router.traits.needs_recorded:
                layer.changes.append(replayer.override)
                stack.callback(layer.changes.remove, replayer.override)
        yield


class Replayer:
    """Recorded routes of a layer, given to its router and executed in place of its routing.

    Args:
        name: of the layer, for errors.
        layer: ``ConfigError`` if it cannot replay the routes.
        routings: of each pass.
        weighting: of routes that override those of the router.
    """

    def __init__(self, name: str, layer: MoE, routings: Sequence[Routing], weighting: str) -> None:
        router = layer.router
        self.name = name
        self.router = router
        self.routings = routings
        self.weighting = weighting
        self.passes = 0
        check_weighting(weighting, router.num_experts)
        for routing in routings:
            check_recorded(routing, router.num_experts, f"layer {name!r}")
            _check_assignments(routing, layer, f"layer {name!r}")
        parts = [part for each in routings for part in each.gates or [each]]
        for each in (m for m in router.modules() if isinstance(m, Replay)):
            check_gate_learns(each.weighting, parts)
        if not router.traits.needs_recorded:
            check_gate_learns(weighting, parts)

    @uncompiled
    def give(self, router: Router, args: tuple[Items]) -> tuple[Items]:
        """Forward pre-hook: add the routes of the pass to the items."""
        if torch._C._current_graph_task_id() == -1:  # not in a backward pass
            self.passes += 1
        if not 0 < self.passes <= len(self.routings):
            raise ConfigError(
                f"layer {self.name!r}: pass {self.passes} has no recorded routes, as there are "
                f"{len(self.routings)}; record as many passes as are replayed"
            )
        [items] = args
        return (replace(items, recorded=self.routings[self.passes - 1]),)

    @uncompiled
    def override(self, items: Items, routing: Routing) -> Routing:
        """Change of a routing: the recorded routes in its place."""
        recorded = self.routings[self.passes - 1].for_items(items)
        if self.weighting == AS_RECORDED:
            return recorded
        if routing.logits is None or routing.candidates is not None:
            raise ConfigError(
                f"layer {self.name!r}: weighting={self.weighting} needs scores of all experts, and "
                f"{type(self.router).__name__} has none; use weighting={AS_RECORDED}"
            )
        return weigh(recorded, routing.logits, self.weighting)


def _check_assignments(routing: Routing, layer: MoE, what: str) -> None:
    """Raise ``ConfigError`` for other gates than the layer's, and for experts that are invalid."""
    if layer.each_router != [layer.router] or layer.input_dim != layer.dim:
        raise ConfigError(
            f"{what}: a {type(layer).__name__} routes items in several rounds or parts, and their "
            "routes cannot be replayed; leave it out of the routes"
        )
    gates = layer.num_gates
    if max(len(routing.gates), 1) != gates:
        raise ConfigError(
            f"{what}: the recorded routes are of {max(len(routing.gates), 1)} gates, and the layer "
            f"has {gates}; replay routes of a layer with as many"
        )
    expert, experts = routing.expert, routing.num_experts
    outside = (expert < 0) | (expert >= experts)
    if outside.any():
        raise ConfigError(
            f"{what}: the recorded routes name expert {expert[outside][0].item()}; experts are "
            f"numbers in [0, {experts - 1}], and assignments that do not exist are left out by keep"
        )
    if len(torch.unique(routing.item * experts + expert)) < len(expert):
        raise ConfigError(f"{what}: the recorded routes name an expert twice for one item")
