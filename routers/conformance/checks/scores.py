"""Checks of scores: one softmax, no change in place, no overflow."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..._router import Router
from ...losses import entropies
from ...routing import Items, Routing, Slots
from ..harness import CheckError, Factory, RouterUnderTest, numbers_of, require, same, seeded

ONCE = "take one softmax, of the scores; a distribution needs none"
SHARP = 30.0  # scale of parameters that makes a softmax nearly one-hot
MAX_CALLS = 20_000  # of torch in one forward pass; the longest strategy here needs about 1,000


def check_softmax_once(subject: RouterUnderTest) -> str | None:
    """No softmax is taken of a softmax, in ``logits``, ``probs`` or weights."""
    items = subject.items(7, 3)
    for route in (subject.in_training, subject.in_eval):
        routing = route(items)
        if routing.logits is None:
            return "no scores"
        _require_scores(routing)
        _require_weights_once(routing)
    _require_sharp(_sharpened(subject.router().double().eval())(items))
    return None


def _require_scores(routing: Routing) -> None:
    assert routing.logits is not None
    logits = routing.logits
    total = logits.sum(-1)
    require(
        (logits < 0).any() or not same(total, torch.ones_like(total), 1e-6),
        "the rows of routing.logits sum to one: they are probabilities, and losses would take "
        "their softmax again",
        f"give the scores before the softmax; {ONCE}",
    )


def _require_weights_once(routing: Routing) -> None:
    """Weights are not the softmax of chosen probabilities (softmax, top-K, softmax)."""
    assert routing.logits is not None
    slots = isinstance(routing.execution, Slots)
    if slots or routing.weight.dim() > 1 or not routing.num_assignments:
        return
    p = routing.logits.softmax(-1)
    if p.shape != routing.assigned_mask.shape:
        return  # scores of candidates alone
    chosen = routing.unpadded(routing.assigned_mask)
    many = chosen.sum(-1) > 1
    cell = routing.item * routing.num_experts + routing.expert
    grid = routing.weight.new_zeros(routing.assigned_mask.numel())
    grid = routing.unpadded(grid.index_add(0, cell, routing.weight).view_as(routing.assigned_mask))
    twice = routing.unpadded(p).masked_fill(~chosen, -torch.inf)[many].softmax(-1)
    flat = chosen[many].to(twice.dtype)
    flat = flat / flat.sum(-1, keepdim=True)
    require(
        not many.any() or not same(grid[many], twice, 1e-6) or same(twice, flat, 1e-4),
        "the weights are the softmax of the chosen probabilities, a softmax of a softmax: they "
        "are nearly equal for any scores",
        f"weigh by p[S] / p[S].sum() or by softmax(logits[S]); {ONCE}",
    )


def _require_sharp(routing: Routing) -> None:
    """``probs`` is not nearly uniform if the softmax of the scores is nearly one-hot."""
    assert routing.logits is not None
    width = routing.logits.shape[-1]
    widest = max(math.log(width), 1e-9)
    once = entropies(routing.logits.softmax(-1)).mean().item() / widest
    given = entropies(routing.unpadded(routing.probs)).mean().item() / widest
    one_hot = torch.zeros(width, dtype=torch.float64)
    one_hot[0] = 1
    twice = entropies(one_hot.softmax(-1)).item() / widest  # no softmax of a softmax is sharper
    require(
        once > 0.3 or given < 0.95 * twice,
        f"routing.probs has normalized entropy {given:.2f}, but the softmax of routing.logits "
        f"has {once:.2f}, as with a softmax of a softmax",
        ONCE,
    )


def check_jitter_scales_input(subject: RouterUnderTest) -> str | None:
    """Option ``jitter`` scales the input of the gate, not its scores."""
    kind: Factory = type(subject.build())
    if "jitter" not in inspect.signature(kind).parameters:
        return "no such option"
    jittery = RouterUnderTest(partial(kind, jitter=0.3), subject.dim, subject.num_experts)
    plain = jittery.items(subject.dim)
    axes = replace(plain, x=torch.eye(subject.dim, dtype=plain.x.dtype))  # one feature per item
    clean, noisy = jittery.in_eval(axes).logits, jittery.in_training(axes).logits
    if clean is None or noisy is None:
        return "no scores"
    require(
        not same(clean, noisy),
        "jitter=0.3 changes no score in training",
        "if self.training, multiply the input of the gate by a uniform draw",
    )
    doubled = jittery.in_eval(replace(axes, x=axes.x * 2)).logits
    assert doubled is not None
    if not same(doubled, 2 * clean):
        return "the gate is not linear"
    across = (noisy * clean[:, :1], clean * noisy[:, :1])  # one factor for all scores of an item
    require(
        same(*across, 1e-6),
        "jitter scales the scores of an item differently, so it is applied to the logits",
        "multiply items.x and not the logits (Switch, 2101.03961): routers.blocks.noise.jittered",
    )
    return None


def check_scores_untouched(subject: RouterUnderTest) -> str | None:
    """Outputs of submodules are not changed in place: losses and logs read them later."""
    router = subject.router().double()
    given: list[tuple[str, Tensor, Tensor]] = []

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            given.append((name, output, output.detach().clone()))

    for name, module in router.named_modules():
        if name:
            module.register_forward_hook(partial(keep, name))
    for training in (True, False):
        for items in subject.batches():
            with seeded(1):
                router.train(training)(items)
            for name, output, before in given:
                require(
                    torch.equal(output, before),
                    f"forward changes the output of {name} in place",
                    "use logits = logits.masked_fill(...) and the like, without the underscore",
                )
            if not given:
                return "no submodule that gives scores"
            given.clear()
    return None


def check_extreme_scores(subject: RouterUnderTest) -> None:
    """Items times 10,000, and times 0, give finite numbers and gradients."""
    for scale in (1e4, 0.0):
        for training in (True, False):
            router = subject.router().train(training)
            with seeded(1):
                routing = router(_single(subject.items(6, 2), scale))
            numbers = numbers_of(routing) | {"weight": routing.weight, "probs": routing.probs}
            for name, value in numbers.items():
                require(
                    value.isfinite().all(),
                    f"{name} is not finite for items times {scale:g}",
                    "compute with logarithms (logsumexp, log_softmax), clamp before exp and "
                    "never divide by 0",
                )
            trained = [p for p in router.parameters() if p.requires_grad]
            if not routing.weight.requires_grad:
                continue
            found = torch.autograd.grad(routing.weight.sum(), trained, allow_unused=True)
            require(
                all(g is None or g.isfinite().all() for g in found),
                f"a gradient of the weights is not finite for items times {scale:g}",
                "compute with logarithms (logsumexp, log_softmax) and clamp before exp",
            )


def check_work_is_bounded(subject: RouterUnderTest) -> None:
    """No forward pass runs an unbounded loop."""
    router = subject.router()
    for items in _hard(subject):
        for training in (True, False):
            with seeded(1), _Counted():
                router.train(training)(items)


class EndlessError(CheckError):
    """A forward pass that does not end, so that every other check would hang."""


class _Counted(TorchFunctionMode):
    """Stops a forward pass that calls torch too often."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise EndlessError(
                f"one forward pass of a few items calls torch more than {MAX_CALLS} times",
                "bound every loop: for _ in range(iterations), with a break on convergence",
            )
        return func(*args, **(kwargs or {}))


def _hard(subject: RouterUnderTest) -> Iterator[Items]:
    """Ordinary, equal and far too large items."""
    for scale in (1.0, 0.0, 1e4):
        yield _single(subject.items(7, 3), scale)


def _single(items: Items, scale: float) -> Items:
    """Scaled items in float32, where ``exp`` overflows above 88."""
    return replace(items, x=(items.x * scale).float())


def _sharpened(router: Router) -> Router:
    """The router with large parameters, so that a softmax of its scores is nearly one-hot."""
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.mul_(SHARP)
    return router
