"""Checks that routers decide in float32, whatever surrounds them."""

import torch

from ._checks_subject import Subject, require, routes, same
from ._items import Items
from ._routing import Routing

MEND = (
    "compute scores from items.x as it comes, cast parameters with .to(items.x.dtype), and cast "
    "nothing down; Router.__call__ has already switched autocast off"
)


def check_bf16(subject: Subject) -> None:
    """bf16 input and autocast change no choice, and no score comes in half precision."""
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
                f"{what} changes routes that the same numbers in float32 have",
                MEND,
            )


def check_full_precision_inside(subject: Subject) -> None:
    """float32 agrees with float64 far beyond what a detour through bf16 leaves."""
    for wide in subject.batches():
        narrow = subject.router().eval()(_cast(wide, torch.float32)).probs.double()
        worst = (narrow - subject.in_eval(wide).probs).abs().amax().item()
        require(
            worst < 1e-4,
            f"probs in float32 are {worst:.1e} off those in float64; float32 itself gives 1e-6",
            MEND,
        )


def _cast(items: Items, dtype: torch.dtype) -> Items:
    return Items(items.x.to(dtype), items.groups, items.mask, items.ids, items.task)


def _require_full_precision(routing: Routing, what: str) -> None:
    for name in ("weight", "logits", "probs", "expected_load"):
        value = getattr(routing, name)
        require(
            value is None or value.dtype in (torch.float32, torch.float64),
            f"routing.{name} is {value.dtype if value is not None else None} with {what}",
            MEND,
        )
