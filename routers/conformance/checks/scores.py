"""Checks of scores: one softmax, no change in place, no overflow, no half precision."""

import inspect
import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ...losses import entropies
from ...routing import Items, Routing, Slots
from ..harness import Factory, RouterUnderTest, require_finite, routed, routes, same, weight_grid
from ..results import CheckError, require, seeded
from .gradients import gradients

ONCE = "take one softmax, of the scores; a distribution needs none"
WIDE = (
    "compute scores from items.x in its own type, cast parameters with .to(items.x.dtype), and "
    "cast nothing down; Router.__call__ has already disabled autocast"
)
SHARP = 30.0  # scale of parameters that makes a softmax nearly one-hot
MAX_CALLS = 20_000  # of torch in one forward pass; the longest strategy here needs about 1,000


def check_softmax_once(subject: RouterUnderTest) -> str | None:
    """No softmax is taken of a softmax, in ``logits``, ``probs`` or weights."""
    for _, routing in subject.routings([subject.items(7, 3)]):
        if routing.logits is None:
            return "no scores"
        total = routing.logits.sum(-1)
        require(
            (routing.logits < 0).any() or not same(total, torch.ones_like(total), 1e-6),
            "the rows of routing.logits sum to one: they are probabilities, and losses would take "
            "their softmax again",
            f"give the scores before the softmax; {ONCE}",
        )
        _require_weights_once(routing, routing.logits.softmax(-1))
    router = subject.router().double().eval()
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.mul_(SHARP)
    _require_sharp(router(subject.items(7, 3)))
    return None


def _require_weights_once(routing: Routing, p: Tensor) -> None:
    """Weights are not the softmax of chosen probabilities ``p`` (softmax, top-K, softmax)."""
    if isinstance(routing.execution, Slots) or not routing.num_assignments:
        return
    if routing.weight.dim() > 1 or routing.candidates is not None:
        return
    chosen = routing.unpadded(routing.assigned_mask)
    many = chosen.sum(-1) > 1
    grid = routing.unpadded(weight_grid(routing).squeeze(-1))
    twice = routing.unpadded(p).masked_fill(~chosen, -torch.inf)[many].softmax(-1)
    flat = chosen[many].to(twice.dtype) / chosen[many].sum(-1, keepdim=True)
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
    one_hot = torch.eye(width, dtype=torch.float64)[0]
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
    why = "jitter=0.3 changes no score in training"
    hint = "if self.training, multiply the input of the gate by a uniform draw"
    require(not same(clean, noisy), why, hint)
    doubled = jittery.in_eval(replace(axes, x=axes.x * 2)).logits
    assert doubled is not None
    if not same(doubled, 2 * clean):
        return "the gate is not linear"
    across = (noisy * clean[:, :1], clean * noisy[:, :1])  # one factor for all scores of an item
    why = "jitter scales the scores of an item differently, so it is applied to the logits"
    hint = "multiply items.x and not the logits (Switch, 2101.03961): routers.blocks.noise.jittered"
    require(same(*across, 1e-6), why, hint)
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
                why = f"forward changes the output of {name} in place"
                hint = "use logits = logits.masked_fill(...) and the like, without the underscore"
                require(torch.equal(output, before), why, hint)
            if not given:
                return "no submodule that gives scores"
            given.clear()
    return None


def check_extreme_scores(subject: RouterUnderTest) -> None:
    """Items times 10,000, and times 0, give finite numbers and gradients."""
    hint = "compute with logarithms (logsumexp, log_softmax), clamp before exp, never divide by 0"
    for scale in (1e4, 0.0):
        for training in (True, False):
            router = subject.router().train(training)
            routing = routed(router, _cast(subject.items(6, 2), torch.float32, scale))
            when = f"for items times {scale:g}"
            require_finite(routing, when, hint)
            for name, slope in gradients(router, routing.weight.sum()).items():
                why = f"the gradient of the weights to {name} is not finite {when}"
                require(slope.isfinite().all(), why, hint)


def check_work_is_bounded(subject: RouterUnderTest) -> None:
    """No forward pass runs an unbounded loop."""
    router = subject.router()
    for scale in (1.0, 0.0, 1e4):  # ordinary, equal and far too large items
        items = _cast(subject.items(7, 3), torch.float32, scale)
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


def check_bf16(subject: RouterUnderTest) -> None:
    """bf16 input and autocast change no route, and no score is in half precision."""
    router = subject.router().eval()
    for items in subject.batches():
        half = _cast(items, torch.bfloat16)
        full = router(_cast(half, torch.float32))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under_autocast = router(_cast(half, torch.float32))
        for what, other in (("bf16 input", router(half)), ("autocast", under_autocast)):
            for name in ("weight", "logits", "probs", "expected_load"):
                value = getattr(other, name)
                why = f"routing.{name} is {value.dtype if value is not None else None} with {what}"
                require(value is None or value.dtype in (torch.float32, torch.float64), why, WIDE)
            why = f"{what} gives other routes than the same numbers in float32"
            require(same(routes(full), routes(other), 1e-6), why, WIDE)


def check_full_precision_inside(subject: RouterUnderTest) -> str | None:
    """Scores are not rounded to bf16 inside and cast back."""
    router = subject.router().eval()
    items = _cast(subject.items(7), torch.float32)
    rounded = _cast(_cast(items, torch.bfloat16), torch.float32)
    other = _cast(subject.items(7, seed=99), torch.float32)
    if not router.traits.has_logits:
        return "no scores"
    found = [router(each).logits for each in (items, rounded, other)]
    scores, from_rounded, from_other = (each for each in found if each is not None)
    if torch.equal(scores, from_other):
        return "scores do not read x"
    why = "rounding x to bf16 changes no score, so x is rounded inside the router"
    require(not torch.equal(scores, from_rounded), why, WIDE)
    why = "every score is a bf16 number, so scores are rounded"
    require(not torch.equal(scores, scores.bfloat16().to(scores.dtype)), why, WIDE)
    return None


def _cast(items: Items, dtype: torch.dtype, scale: float = 1.0) -> Items:
    """Scaled items in another dtype; in float32 ``exp`` overflows above 88."""
    return replace(items, x=(items.x * scale).to(dtype))
