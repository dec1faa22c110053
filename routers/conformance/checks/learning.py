"""Checks that a router learns with every option, and with experts that get no items."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch

from ..._router import Router
from ...plugins.errors import ConfigError
from ...plugins.signature import defaults
from ...routing import Slots
from ..harness import CheckError, RouterUnderTest, require, seeded, with_mask
from .gradients import check_gradients
from .metadata import ends


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
    trained = {name: p for name, p in router.named_parameters() if p.requires_grad}
    if not trained:
        return "no parameters"
    many = subject.items(3, 2)
    for items in (subject.items(1), with_mask(many, torch.arange(len(many)) == 0)):
        with seeded(1):
            routing = router(items)
        parts = [routing.weight]
        if isinstance(routing.execution, Slots):
            parts += [routing.execution.dispatch, routing.execution.combine]
        value = torch.stack([part.sum() for part in parts]).sum()
        found = (
            torch.autograd.grad(value, list(trained.values()), allow_unused=True)
            if value.requires_grad
            else [None] * len(trained)
        )
        unused = [name for name, g in zip(trained, found, strict=True) if g is None]
        require(
            not unused,
            f"with one real item the weights do not depend on {', '.join(unused)}: "
            "DistributedDataParallel refuses unused parameters",
            "compute the scores of all experts, or of all tasks, at once and select from them: "
            "scores that are not selected then get a gradient of 0",
        )
    return None
