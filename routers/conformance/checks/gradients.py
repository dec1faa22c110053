"""Checks of the gradient from the mixture's output to the router's parameters."""

import torch
from torch import Tensor

from ..._router import Router
from ...routing import Items, Routing
from ..harness import (
    RouterUnderTest,
    copied,
    loss_values,
    random_mask,
    require,
    seeded,
    toy_mixture,
    with_mask,
)

TINY = 1e-9  # a gradient below this, relative to the output, is rounding


def check_gradients(subject: RouterUnderTest) -> None:
    """The gradient through the output reaches every parameter of a learned router."""
    router = subject.router().double().train()
    trained = [name for name, p in router.named_parameters() if p.requires_grad]
    if not router.traits.learned:
        require(
            not trained,
            f"learned=False is declared, but {', '.join(trained)} require a gradient",
            "call requires_grad_(False) on them or make them buffers",
        )
        return
    require(
        trained,
        "learned is declared, but no parameter requires a gradient",
        "make the learned tensor an nn.Parameter, or declare traits = Traits(learned=False)",
    )
    output = _output(router, subject.items(8, 3))
    found = gradients(router, output)
    for name in trained:
        size = found[name].norm().item()
        require(
            size > TINY * max(1.0, abs(output.item())),
            f"the task sends no gradient to {name} (norm {size:.2g})",
            "weigh the experts' outputs by a value computed from the parameter; a single weight "
            "divided by itself is always 1, so with one expert per item use the probability",
        )


def check_gradients_are_exact(subject: RouterUnderTest) -> str | None:
    """Trait ``exact_gradients``: gradients equal finite differences while choices do not change."""
    router = subject.router().double().train()
    if not (router.traits.learned and router.traits.exact_gradients):
        return "not declared"
    plain = subject.items(6, 2)
    for items in (plain, with_mask(plain, random_mask(plain))):
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
    return None


def check_finite_gradients(subject: RouterUnderTest) -> str | None:
    """Every loss and the output give finite gradients, also with padded groups."""
    router = subject.router().double().train()
    if not router.traits.learned:
        return "not declared"
    items = subject.items(4, 3)
    padded_group = torch.arange(len(items)) >= items.group_length
    for what, mask in (
        ("without padding", None),
        ("with some padding", random_mask(items)),
        ("with a group of padding alone", padded_group),
        ("with nothing but padding", torch.zeros(len(items), dtype=torch.bool)),
    ):
        require_finite_gradients(router, with_mask(items, mask), what)
    return None


def check_finite_from_zero(subject: RouterUnderTest) -> str | None:
    """With all parameters at zero, as some papers initialize, no loss or gradient is NaN."""
    if not subject.router().traits.learned:
        return "not declared"
    items = subject.items(6, 2)
    router = copied(subject.router()).double().train()
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.zero_()
    for training, when in ((True, ""), (False, ", in eval")):
        require_finite_gradients(router.train(training), items, f"with all parameters at 0{when}")
    return None


def require_finite_gradients(router: Router, items: Items, what: str) -> None:
    """Raise ``CheckError`` if a loss or the output has a gradient that is not finite."""
    fresh = copied(router)
    with seeded(1):
        routing = fresh(items)
    for name, value in {"the output": probed(routing, items), **loss_values(routing)}.items():
        bad = [n for n, g in gradients(fresh, value).items() if not g.isfinite().all()]
        require(
            value.isfinite().all() and not bad,
            f"{name} is {value.item():.4g} {what}, its gradient is not finite in {bad}",
            "avoid square roots and divisions of 0; mask with a finite floor",
        )


def _output(router: Router, items: Items) -> Tensor:
    """A scalar that depends on the whole output of the mixture, with noise from a fixed seed."""
    with seeded(1):
        routing = router(items)
    return probed(routing, items)


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
    found = torch.autograd.grad(value, list(trained.values()), retain_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(trained.items(), found, strict=True)
    }


def _difference(router: Router, items: Items, name: str, direction: Tensor) -> float | None:
    """The central difference along ``direction``; None if every step size changes a choice."""
    chosen = _chosen(router, items)
    for step in (1e-5, 1e-6, 1e-7):
        ahead, behind = (_moved(router, name, sign * step * direction) for sign in (1, -1))
        if all(torch.equal(_chosen(r, items), chosen) for r in (ahead, behind)):
            rise = _output(ahead, items) - _output(behind, items)
            return rise.item() / (2 * step)
    return None


def _chosen(router: Router, items: Items) -> Tensor:
    with seeded(1), torch.no_grad():
        return router(items).assigned_mask


@torch.no_grad()
def _moved(router: Router, name: str, by: Tensor) -> Router:
    other = copied(router)
    other.get_parameter(name).add_(by)
    return other
