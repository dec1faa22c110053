"""A routed layer in the place of another module: a tensor in, a tensor out."""

from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError
from routers.blocks import uncompiled

from ..layers.moe import MoE
from .collection import Given, open_collection


class Routed(nn.Module):
    """A routed layer with the signature of the module that it replaces: ``y = Routed(moe)(x)``.

    Inside of ``experts.collect`` it reads the mask, the ids and the tasks given there, and adds
    its routing; outside it just runs.

    Args:
        moe: the layer.
        batch_first: whether the first axis of ``(N, L, D)`` is samples; else the second is.

    >>> import experts, routers
    >>> layer = Routed(MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4)))
    >>> layer(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, moe: MoE, batch_first: bool = True) -> None:
        super().__init__()
        self.moe = moe
        self.batch_first = batch_first

    @uncompiled
    def forward(self, x: Tensor) -> Tensor:
        if x.is_nested:
            raise ConfigError(
                "a routed layer takes padded tensors and a mask, not nested tensors; build "
                "nn.TransformerEncoder with enable_nested_tensor=False"
            )
        swapped = not self.batch_first and x.dim() == 3
        x = x.transpose(0, 1) if swapped else x
        collection = open_collection(self)
        given = Given() if collection is None else collection.given_to(self, x)
        self._check_needs(given)
        y, routing = self.moe(x, **given._asdict())
        if y.shape != x.shape:
            raise ConfigError(
                f"{type(self.moe.router).__name__} returns an output for each task, of shape "
                f"{tuple(y.shape)}, and the model expects {tuple(x.shape)}; choose another router"
            )
        if routing is not None:  # a static copy returns none
            if collection is not None:
                collection.observe(self, routing)
            if y.requires_grad:
                routes = routing.expert, routing.weight.detach()
                y = SameGiven.apply(y, _identity(given), *routes, given)  # type: ignore[no-untyped-call]
        return y.transpose(0, 1) if swapped else y

    def _check_needs(self, given: Given) -> None:
        traits, name = self.moe.router.traits, type(self.moe.router).__name__
        for key, needs in (("ids", traits.needs_ids), ("task", traits.needs_task)):
            if needs and getattr(given, key) is None:
                raise ConfigError(
                    f"the router {name} needs the {key} of every item; run the model inside of "
                    f"experts.collect(model, {key}=...)"
                )


class SameGiven(torch.autograd.Function):
    """A copy of ``y`` whose backward pass checks what a layer read that was computed again.

    Activation checkpointing computes saved tensors again. Those saved here say what the layer read
    and how it routed; they differ from what is noted here if it read another mask, or if its
    routes depend on routings of earlier layers that it no longer read.
    """

    @staticmethod
    def forward(y: Tensor, read: Tensor, expert: Tensor, weight: Tensor, given: Given) -> Tensor:
        return y.clone()  # not a view, which no later module could change in place

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, *saved, ctx.given = inputs  # held, so that no other object has the same identity
        ctx.routes = saved[1:]
        ctx.save_for_backward(*saved)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        read, *routes = ctx.saved_tensors
        differs = read != _identity(ctx.given)
        if differs[:3].any() or (differs[3] and not all(map(torch.equal, routes, ctx.routes))):
            raise ConfigError(
                "a routed layer was computed again for the backward pass with another mask, other "
                "ids or tasks than before; call backward inside of the same experts.collect, "
                "before the next pass"
            )
        return grad, None, None, None, None


def _identity(given: Given) -> Tensor:
    """The identity of each object that was given, ``(4,)`` int64."""
    return torch.tensor([id(each) for each in given], device="cpu")
