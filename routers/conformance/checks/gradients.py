"""Checks of gradients: exact and finite, and that a router learns with every option."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..._router import Router
from ...losses import LOSSES
from ...plugins.errors import ConfigError
from ...plugins.signature import defaults
from ...routing import Items, Routing, Slots
from ..harness import RouterUnderTest, declared, loss_values, random_mask, routed, toy_mixture
from ..results import CheckError, require, seeded
from .metadata import ends

TINY = 1e-9  # a gradient below this, relative to the output, is rounding


def check_gradients(subject: RouterUnderTest) -> None:
    """The gradient through the output reaches every parameter of a learned router."""
    router = subject.router().double().train()
    trained = [name for name, p in router.named_parameters() if p.requires_grad]
    if not router.traits.learned:
        why = f"learned=False is declared, but {', '.join(trained)} require a gradient"
        hint = "call requires_grad_(False) on them or make them buffers"
        require(not trained, why, hint)
        return
    why = "learned is declared, but no parameter requires a gradient"
    hint = "make the learned tensor an nn.Parameter, or declare traits = Traits(learned=False)"
    require(trained, why, hint)
    items = subject.items(8, 3)
    routing = routed(router, items)
    output = probed(routing, items)
    found, taught = gradients(router, output), gradients(router, _imitation(routing))
    for name in trained:
        size = max(each[name].norm().item() for each in (found, taught))
        require(
            size > TINY * max(1.0, abs(output.item())),
            f"the task sends no gradient to {name} (norm {size:.2g})",
            "weigh the experts' outputs by a value computed from the parameter; a single weight "
            "divided by itself is always 1, so with one expert per item use the probability",
        )


def _imitation(routing: Routing) -> Tensor:
    """The loss that teaches a part of a router to imitate another; 0 without such a part."""
    return LOSSES["imitation"](routing) if "imitator" in routing.extras else torch.zeros(())


@declared("learned", "needs_recorded")
def check_recorded_experts_learn(subject: RouterUnderTest) -> None:
    """Trait ``needs_recorded``: each recorded expert has a weight, and its score a gradient.

    The scores of a gate that has learned further would select others, so a recorded expert may
    be among its worst.
    """
    router = subject.router().double().train()
    routing = routed(router, subject.items(7, 3))
    hint = (
        "normalize the scores of the recorded experts, softmax(h[recorded]); probabilities that "
        "are masked by the router's own selection are 0 for all others"
    )
    by_item = routing.item.argsort(stable=True)
    many = torch.bincount(routing.item).max()
    first = torch.searchsorted(routing.item[by_item], routing.item[by_item])
    place = torch.arange(len(by_item)) - first
    for rank in range(int(many)):
        chosen = by_item[place == rank]
        item, expert, weight = routing.item[chosen], routing.expert[chosen], routing.weight[chosen]
        for which in (weight.detach(), _slopes(routing, weight)[item, expert]):
            lost = (which.abs() <= TINY).nonzero().flatten().tolist()
            require(
                not lost,
                "recorded experts that the gate would not select have weight 0 or send no gradient "
                f"to their scores: {len(lost)} of {len(chosen)}, such as expert "
                f"{expert[lost[:1]].tolist()} of item {item[lost[:1]].tolist()}",
                hint,
            )


def _slopes(routing: Routing, weight: Tensor) -> Tensor:
    """The gradient of a sum of weights to the scores they come from, ``(N, E)``; else ones."""
    found = None
    if routing.logits is not None and weight.requires_grad:
        total = weight.sum()
        [found] = torch.autograd.grad(total, routing.logits, retain_graph=True, allow_unused=True)
    return torch.ones_like(routing.assigned_mask, dtype=weight.dtype) if found is None else found


@declared("learned", "exact_gradients")
def check_gradients_are_exact(subject: RouterUnderTest) -> None:
    """Trait ``exact_gradients``: gradients equal finite differences while choices do not change."""
    router = subject.router().double().train()
    for items in subject.padded(6, 2):
        found = gradients(router, _output(router, items))
        for name, gradient in found.items():
            with seeded(3):
                direction = torch.randn_like(gradient)
            direction = direction / direction.norm()
            measured = _difference(router, items, name, direction)
            claimed = (gradient * direction).sum().item()
            require(
                measured is None or abs(measured - claimed) <= 1e-5 * max(1.0, abs(measured)),
                f"along a direction in {name} the output's slope is {measured}, "
                f"but its gradient gives {claimed}",
                "look for detach(), .data or an in-place change between parameter and weight; "
                "for an intended surrogate, declare traits = Traits(exact_gradients=False)",
            )


@declared("learned")
def check_finite_gradients(subject: RouterUnderTest) -> None:
    """Every loss and the output give finite gradients, also with padded groups."""
    router = subject.router().double().train()
    items = subject.items(4, 3)
    padded_group = torch.arange(len(items)) >= items.group_length
    for what, mask in (
        ("without padding", None),
        ("with some padding", random_mask(items)),
        ("with a group of padding alone", padded_group),
        ("with nothing but padding", torch.zeros(len(items), dtype=torch.bool)),
    ):
        require_finite_gradients(router, replace(items, mask=mask), what)


@declared("learned")
def check_finite_from_zero(subject: RouterUnderTest) -> None:
    """With all parameters at zero, as some papers initialize, no loss or gradient is NaN."""
    items = subject.items(6, 2)
    router = subject.router().double().train()
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.zero_()
    for training, when in ((True, ""), (False, ", in eval")):
        require_finite_gradients(router.train(training), items, f"with all parameters at 0{when}")


def require_finite_gradients(router: Router, items: Items, what: str) -> None:
    """Raise ``CheckError`` if a loss or the output has a gradient that is not finite."""
    fresh = deepcopy(router)
    routing = routed(fresh, items)
    for name, value in {"the output": probed(routing, items), **loss_values(routing)}.items():
        bad = [n for n, g in gradients(fresh, value).items() if not g.isfinite().all()]
        why = f"{name} is {value.item():.4g} {what}, its gradient is not finite in {bad}"
        hint = "avoid square roots and divisions of 0; mask with a finite floor"
        require(value.isfinite().all() and not bad, why, hint)


def _output(router: Router, items: Items) -> Tensor:
    """A scalar that depends on the whole output of the mixture, with noise from a fixed seed."""
    return probed(routed(router, items), items)


def probed(routing: Routing, items: Items) -> Tensor:
    """A scalar that depends on the whole output of the mixture."""
    y = toy_mixture(routing, items.x)
    probe = torch.randn(y.shape, generator=torch.Generator().manual_seed(5), dtype=y.dtype)
    return (y * probe).sum()


def gradients(router: Router, value: Tensor) -> dict[str, Tensor]:
    """Gradients of a scalar by parameter; 0 for parameters that it does not depend on."""
    trained = {name: p for name, p in router.named_parameters() if p.requires_grad}
    if not value.requires_grad:
        return {name: torch.zeros_like(p) for name, p in trained.items()}
    found = torch.autograd.grad(
        value, list(trained.values()), retain_graph=True, materialize_grads=True
    )
    return dict(zip(trained, found, strict=True))


def _difference(router: Router, items: Items, name: str, direction: Tensor) -> float | None:
    """The central difference along ``direction``; None if every step size changes a choice."""
    chosen = routed(router, items).assigned_mask
    for step in (1e-5, 1e-6, 1e-7):
        ahead, behind = (_moved(router, name, sign * step * direction) for sign in (1, -1))
        if all(torch.equal(routed(r, items).assigned_mask, chosen) for r in (ahead, behind)):
            rise = _output(ahead, items) - _output(behind, items)
            return rise.item() / (2 * step)
    return None


@torch.no_grad()
def _moved(router: Router, name: str, by: Tensor) -> Router:
    other = deepcopy(router)
    other.get_parameter(name).add_(by)
    return other


def check_options_learn(subject: RouterUnderTest) -> str | None:
    """With each choice of ``search_space`` and with ``k=1``, the gradient reaches the gate."""
    kind = type(subject.build())
    if not kind.traits.learned:
        return "not declared"
    for options in _settings(kind):
        chosen = RouterUnderTest(partial(kind, **options), subject.dim, subject.num_experts)
        try:
            chosen.build()
        except ConfigError:
            continue  # refusing an option that cannot learn is correct
        try:
            check_gradients(chosen)
        except CheckError as broken:
            given = ", ".join(f"{name}={value}" for name, value in options.items())
            raise CheckError(
                f"with {given}: {broken.why}",
                f"refuse an option that cannot learn with ConfigError; or {broken.hint}",
            ) from broken
    return None


def _settings(kind: type[Router]) -> Iterator[Mapping[str, Any]]:
    """Each choice of ``search_space``, both ends of a range, alone and with ``k=1``."""
    listed = [
        {name: choice} for name, choices in kind.search_space.items() for choice in ends(choices)
    ]
    yield from listed
    if "k" in defaults(kind, skip=2):
        yield {"k": 1}
        yield from ({**choice, "k": 1} for choice in listed if "k" not in choice)


def check_idle_experts(subject: RouterUnderTest) -> str | None:
    """All parameters stay in the graph for a batch of one item: DDP fails on unused ones."""
    router = subject.router().double().train()
    if not any(p.requires_grad for p in router.parameters()):
        return "no parameters"
    many = subject.items(3, 2)
    for items in (subject.items(1), replace(many, mask=torch.arange(len(many)) == 0)):
        routing = routed(router, items)
        value = routing.weight.sum() + _imitation(routing)
        if isinstance(routing.execution, Slots):
            value = value + routing.execution.dispatch.sum() + routing.execution.combine.sum()
        router.zero_grad()
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
        unused = [n for n, p in router.named_parameters() if p.requires_grad and p.grad is None]
        require(
            not unused,
            f"with one real item the weights do not depend on {', '.join(unused)}: "
            "DistributedDataParallel refuses unused parameters",
            "compute the scores of all experts, or of all tasks, at once and select from them: "
            "scores that are not selected then get a gradient of 0",
        )
    return None
