"""Checks that routers compute in float32 or wider, also under autocast."""

import torch
from torch import Tensor

from ...routing import Items, Routing
from ..harness import RouterUnderTest, require, routes, same

HINT = (
    "compute scores from items.x in its own type, cast parameters with .to(items.x.dtype), and "
    "cast nothing down; Router.__call__ has already disabled autocast"
)


def check_bf16(subject: RouterUnderTest) -> None:
    """bf16 input and autocast change no route, and no score is in half precision."""
    router = subject.router().eval()
    for wide in subject.batches():
        half = _cast(wide, torch.bfloat16)
        full = router(_cast(half, torch.float32))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under_autocast = router(_cast(half, torch.float32))
        for what, other in (("bf16 input", router(half)), ("autocast", under_autocast)):
            _require_full_precision(other, what)
            require(
                same(routes(full), routes(other), 1e-6),
                f"{what} gives other routes than the same numbers in float32",
                HINT,
            )


def check_full_precision_inside(subject: RouterUnderTest) -> str | None:
    """Scores are not rounded to bf16 inside and cast back."""
    router = subject.router().eval()
    items = _cast(subject.items(7), torch.float32)
    rounded = _cast(_cast(items, torch.bfloat16), torch.float32)
    other = _cast(subject.items(7, seed=99), torch.float32)
    if not router.traits.has_logits:
        return "no scores"
    scores, from_rounded, from_other = (_scores(router(i)) for i in (items, rounded, other))
    if torch.equal(scores, from_other):
        return "scores do not read x"
    require(
        not torch.equal(scores, from_rounded),
        "rounding x to bf16 changes no score, so x is rounded inside the router",
        HINT,
    )
    require(
        not torch.equal(scores, scores.bfloat16().to(scores.dtype)),
        "every score is a bf16 number, so scores are rounded",
        HINT,
    )
    return None


def _scores(routing: Routing) -> Tensor:
    assert routing.logits is not None
    return routing.logits


def _cast(items: Items, dtype: torch.dtype) -> Items:
    return Items(items.x.to(dtype), items.groups, items.mask, items.ids, items.task)


def _require_full_precision(routing: Routing, what: str) -> None:
    for name in ("weight", "logits", "probs", "expected_load"):
        value = getattr(routing, name)
        require(
            value is None or value.dtype in (torch.float32, torch.float64),
            f"routing.{name} is {value.dtype if value is not None else None} with {what}",
            HINT,
        )
