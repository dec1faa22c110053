"""Checks that a forward pass leaves no state outside the routing."""

import gc
import weakref
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ..._router import Router
from ..harness import RouterUnderTest, loss_values, require, seeded


def check_nothing_kept(subject: RouterUnderTest) -> None:
    """No tensor outlives its routing: no global list, no ``self.last``."""
    router = subject.router().double().train()
    _forward(router, subject)  # a first pass may fill caches
    with _Made() as made:
        _forward(router, subject)
    held = made.alive(router)
    if held:
        gc.collect()
        held = made.alive(router)
    require(
        not held,
        f"a forward pass leaves {len(held)} tensors behind, of shapes "
        f"{sorted({tuple(t.shape) for t in held})[:3]}",
        "return everything in the routing; keep no loss, score or activation on the module or "
        "in a list",
    )


def _forward(router: Router, subject: RouterUnderTest) -> None:
    with seeded(1):
        loss_values(router(subject.items(5, 3)))


class _Made(TorchFunctionMode):
    """Weak references to every tensor that torch returned."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref[Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        found = tree_leaves(result)
        self.made += [weakref.ref(leaf) for leaf in found if isinstance(leaf, Tensor)]
        return result

    def alive(self, router: Router) -> list[Tensor]:
        """The tensors that still exist, except those that the router owns."""
        own = {id(tensor) for tensor in (*router.parameters(), *router.buffers())}
        there = {id(t): t for t in (ref() for ref in self.made) if t is not None}
        return [tensor for key, tensor in there.items() if key not in own]


def check_losses_are_independent(subject: RouterUnderTest) -> None:
    """A loss depends on one routing only, not on routings it was called with before."""
    one, other = (subject.in_training(subject.items(6, 2, seed=seed)) for seed in (0, 99))
    first = loss_values(one)
    loss_values(other)
    again = loss_values(one)
    for name, value in first.items():
        require(
            torch.equal(value, again[name]),
            f"losses.{name} of one routing is {value.item():.6g}, and {again[name].item():.6g} "
            "after a call with another routing",
            "keep no sum over calls or layers: pooled over layers, a collapsed layer hides behind "
            "one that collapsed elsewhere; the training loop adds the losses of layers",
        )
