"""Adaptation of routers, once per optimizer step, to the load of the whole step."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError, Router, Routing
from routers.blocks import sum_over_ranks, uncompiled

from .moe import MoE


class Adaptation(nn.Module):
    """Sums loads and counts over an optimizer step and gives them to the routers.

    A router that several layers hold adapts once, to the sum over these layers. The sums are saved
    in checkpoints, so that a resumed run adapts as if never interrupted.
    The routers are not registered as submodules here.
    """

    load: Tensor
    counts: Tensor

    def __init__(self, routers: Sequence[Router]) -> None:
        super().__init__()
        self.routers = list(routers)
        widest = max((router.num_experts for router in routers), default=1)
        self.register_buffer("load", torch.zeros(len(self.routers), widest, dtype=torch.int64))
        zeros = torch.zeros(sum(router.num_counts for router in routers), dtype=torch.int64)
        self.register_buffer("counts", zeros, persistent=len(zeros) > 0)

    def observe(self, routings: Sequence[Routing]) -> None:
        """Add the requested load and the counts of a micro-batch."""
        for layer, routing in enumerate(routings):
            self.observe_layer(layer, routing)

    @torch.no_grad()
    def observe_layer(self, layer: int, routing: Routing) -> None:
        """Add those of one layer, the number of its router."""
        self.load[layer, : routing.num_experts] += routing.requested_load
        if "counts" in routing.extras:
            self._by_router(self.counts)[layer].add_(routing.extras["counts"])

    def finish_step(self, over_ranks: Callable[[Tensor], Tensor] = sum_over_ranks) -> Tensor:
        """Adapt every router; returns the load of the step over ranks, ``(layers, E)`` int64.

        ``over_ranks`` sums int64 counts over all ranks, all in one exchange.
        """
        sums = over_ranks(torch.cat([self.load.flatten(), self.counts]))
        load, counts = sums[: self.load.numel()].view_as(self.load), sums[self.load.numel() :]
        by_layer = self._by_router(counts)
        for router in dict.fromkeys(self.routers):  # layers that share one have its sums
            places = [place for place, each in enumerate(self.routers) if each is router]
            router.adapt(load[places].sum(0)[: router.num_experts])
            if router.num_counts:
                router.adapt_from_counts(torch.stack([by_layer[p] for p in places]).sum(0))
        self.load.zero_()
        self.counts.zero_()
        return load

    def _by_router(self, counts: Tensor) -> tuple[Tensor, ...]:
        return torch.split(counts, [router.num_counts for router in self.routers])


def adapt_on_step(optimizer: torch.optim.Optimizer, model: nn.Module) -> Adaptation:
    """Adapt all routers of a model after every step of an optimizer.

    Routers such as ``sigmoid`` balance loads by a bias that follows the load of each step. Call
    this once, after the model is on its device. The load is that of all forward passes in
    training since the last step, over all ranks; recomputed activations do not count again.

    Raises:
        ConfigError: if the model has no ``MoE`` layer, or its routers adapt already.

    >>> import experts, routers
    >>> router = routers.build("sigmoid", 4, 2, k=1, weighting="probability", rate=0.5)
    >>> layer = MoE(router, experts.build("mlp", 4, 2))
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> adaptation = adapt_on_step(optimizer, layer)
    >>> y, routing = layer(torch.ones(3, 4))  # equal items have the same expert
    >>> y.sum().backward()
    >>> optimizer.step()
    >>> sorted(layer.router.bias.value.tolist())
    [-0.5, 0.5]
    """
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    if not layers:
        raise ConfigError("the model has no MoE layer, whose router could adapt")
    hooks = [hook for layer in layers for hook in layer._forward_hooks.values()]
    if any(isinstance(hook, Observer) for hook in hooks):
        raise ConfigError(
            "the routers of this model adapt already, after the steps of the optimizer of an "
            "earlier call; for another optimizer build the model again"
        )
    adaptation = Adaptation([layer.router for layer in layers])
    adaptation.to(next(model.parameters()).device)
    for place, layer in enumerate(layers):
        layer.register_forward_hook(Observer(adaptation, place))

    def finish(*_: Any) -> None:
        adaptation.finish_step()

    optimizer.register_step_post_hook(finish)
    return adaptation


class Observer:
    """A forward hook that counts the load of a layer; a copy of the layer counts for itself."""

    def __init__(self, adaptation: Adaptation, place: int) -> None:
        self.adaptation = adaptation
        self.place = place

    @uncompiled
    def __call__(self, layer: MoE, _: Any, output: tuple[Tensor, Routing]) -> None:
        if layer.training and torch._C._current_graph_task_id() == -1:  # not in a backward pass
            self.adaptation.observe_layer(self.place, output[1])
