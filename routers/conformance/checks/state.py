"""Checks of a router's state: determinism, checkpoints, copies, and nothing kept elsewhere."""

import gc
import io
import pickle
import weakref
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ..._router import Router
from ...routing import Items
from ..harness import (
    RouterUnderTest,
    attributes_of,
    changed,
    loss_values,
    routed,
    routes,
    same,
    state_of,
)
from ..results import require, seeded
from .adaptation import STEPS, step
from .gradients import gradients, probed


def check_eval_deterministic(subject: RouterUnderTest) -> None:
    """In eval, equal items get equal routes and no random number is drawn."""
    router = subject.router().double().eval()
    for items in subject.batches():
        first = routes(routed(router, items))
        with seeded(2):
            before = torch.get_rng_state()
            second = routes(router(items))
            after = torch.get_rng_state()
        why, hint = "eval gives two routes for one input", "draw noise only if self.training"
        require(torch.equal(first, second), why, hint)
        why = "eval draws from the global random generator"
        hint = "draw noise only if self.training, or from a torch.Generator that the router owns"
        require(torch.equal(before, after), why, hint)


def check_inputs_untouched(subject: RouterUnderTest) -> None:
    """A forward pass does not change its input items."""
    for wide in subject.batches():
        items = replace(wide, x=wide.x.float())
        held = {**vars(items), **{f"recorded.{n}": v for n, v in vars(items.recorded).items()}}
        fields = {n: v for n, v in held.items() if isinstance(v, torch.Tensor)}
        for training in (True, False):
            before = {name: value.clone() for name, value in fields.items()}
            subject.router().train(training)(items)
            written = changed(before, fields)
            why = f"forward changed {', '.join('items.' + name for name in written)} in place"
            hint = "write x = x * 2 instead of x.mul_(2); dataclasses.replace(items, x=...)"
            require(not written, why, hint)


def check_forward_keeps_state(subject: RouterUnderTest) -> None:
    """A forward pass changes no state: activation checkpointing would do so twice.

    Neither parameters and buffers, nor in eval what Python attributes hold, such as a counter of
    passes: evaluating more often would then change later routes.
    """
    router = subject.router().double()
    for training in (True, False):
        router.train(training)
        before = state_of(router)
        for items in subject.batches():
            router(items)
        moved = changed(before, state_of(router))
        why = f"forward changed {', '.join(moved)}"
        hint = "change state in adapt(load), which is called once per optimizer step"
        require(not moved, why, hint)
    held = attributes_of(router)
    for items in subject.batches():
        router(items)
    found = attributes_of(router)
    moved = sorted(name for name in found if found[name] != held.get(name))
    why = f"a forward pass in eval changes {', '.join(moved)}, so evaluating changes later routes"
    hint = "count steps in adapt(load), in a buffer, and not in forward"
    require(not moved, why, hint)


def check_state_dict_round_trip(subject: RouterUnderTest) -> None:
    """A new router with the state dict of a trained one routes, trains and adapts alike."""
    used = _adapted(subject)
    stream = io.BytesIO()
    torch.save(used.state_dict(), stream)
    stream.seek(0)
    fresh = subject.build(seed=5).double()
    fresh.load_state_dict(torch.load(stream, weights_only=True))
    _require_equal(
        subject,
        used,
        fresh,
        "a router that loads the state dict of another",
        "keep every tensor of its state in a Parameter or with register_buffer",
    )


def check_copy_and_pickle(subject: RouterUnderTest) -> None:
    """A deep copy and a pickled copy route, train and adapt like the original."""
    router = _adapted(subject)
    hint = "keep no lambda, generator, open file or local class as an attribute"
    _require_equal(subject, router, deepcopy(router), "a deep copy", hint)
    pickled = pickle.loads(pickle.dumps(router))
    _require_equal(subject, router, pickled, "a pickled copy", hint)


def _adapted(subject: RouterUnderTest) -> Router:
    """A router after many steps, whose adapted state has changed its choices."""
    router = subject.router().double().train()
    e = subject.num_experts
    routing = routed(router, subject.items(6, 2))
    for _ in range(STEPS):
        step(router, routing)
    for load in (torch.zeros(e, dtype=torch.int64), torch.arange(e)):
        router.adapt(load)
    return router


def _require_equal(
    subject: RouterUnderTest, one: Router, other: Router, what: str, hint: str
) -> None:
    """Raise ``CheckError`` if two routers route, train or adapt differently."""
    one, other = deepcopy(one), deepcopy(other)
    for items in subject.batches():
        expected, found = (routes(router.eval()(items)) for router in (one, other))
        require(same(found, expected), f"{what} routes differently", hint)
    items = subject.items(5, 3)
    was, now = (_trained_on(router.train(), items) for router in (one, other))
    differ = sorted(name for name in was if name not in now or not same(now[name], was[name]))
    require(not differ, f"{what} trains differently, in {', '.join(differ)}", hint)
    routing = routed(one, items)
    for router in (one, other):
        step(router, routing)
    moved = changed(state_of(one), state_of(other))
    require(not moved, f"{what} adapts differently: {', '.join(moved)}", hint)


def _trained_on(router: Router, items: Items) -> dict[str, Tensor]:
    """The routes, losses and gradients of the output in a training step."""
    routing = routed(router, items)
    slopes = gradients(router, probed(routing, items))
    return {"routes": routes(routing), **loss_values(routing), **slopes}


def check_nothing_kept(subject: RouterUnderTest) -> None:
    """No tensor outlives its routing: no global list, no ``self.last``."""
    router = subject.router().double().train()
    loss_values(routed(router, subject.items(5, 3)))  # a first pass may fill caches
    with _Made() as made:
        loss_values(routed(router, subject.items(5, 3)))
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
