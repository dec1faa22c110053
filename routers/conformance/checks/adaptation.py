"""Checks of ``adapt``: what follows the load is a buffer, is saved, selects and never weighs."""

import torch
from torch import Tensor

from ..._router import Router
from ...routing.routing import Routing
from ..harness import RouterUnderTest, changed, copied, require, routes, same, state_of

STEPS = 200  # enough for steps of 0.001 to change a choice


def check_adapt(subject: RouterUnderTest) -> None:
    """``adapt(load)`` takes any load in training, and eval stays deterministic after it."""
    e = subject.num_experts
    for load in (torch.zeros(e, dtype=torch.int64), torch.arange(e), torch.full((e,), 5)):
        router = subject.router().double().train()
        router.adapt(load)
        router.eval()
        for items in subject.batches():
            first, second = routes(router(items)), routes(router(items))
            require(
                first.isfinite().all(),
                f"after adapt({load.tolist()}) weights are not finite",
                "allow for a step without items; move by a bounded step",
            )
            require(
                torch.equal(first, second),
                "after adapt(load) eval gives two routes for one input",
                "let adapt move buffers, and only there",
            )


def check_tally(subject: RouterUnderTest) -> str | None:
    """In training alone a routing carries ``num_counts`` counts, where the router asks for any."""
    size = subject.router().num_counts
    check = _check_counts if size else _check_no_tally
    for items in subject.batches():
        check(subject.in_training(items).extras.get("counts"), size)
        require(
            "counts" not in subject.in_eval(items).extras,
            "a routing carries a tally in eval, where nothing is adapted",
            'give extras={"counts": ...} if self.training',
        )
    return None if size else "asks for no tally"


def _check_no_tally(tally: Tensor | None, size: int) -> None:
    require(
        tally is None,
        f"a routing carries a tally, but num_counts is {size}, so nobody gives it back",
        "declare num_counts, or leave tally out",
    )


def _check_counts(tally: Tensor | None, size: int) -> None:
    shape = None if tally is None else (tally.dtype, *tally.shape)
    require(
        shape == (torch.int64, size),
        f"routing.extras['counts'] is {shape}, not int64 ({size},) as num_counts says",
        "count in whole numbers, which add up over batches and ranks; count none where "
        "there is no item",
    )


def check_adapt_moves_buffers(subject: RouterUnderTest) -> str | None:
    """What ``adapt`` moves is no parameter, keeps float32 and is in the state dict."""
    router, moved = _moved(subject)
    if not moved:
        return "adapts nothing"
    parameters = moved & dict(router.named_parameters()).keys()
    require(
        not parameters,
        f"adapt moves {', '.join(sorted(parameters))}, which the optimizer moves as well",
        "make it a buffer: self.register_buffer(name, torch.zeros(...))",
    )
    unsaved = moved - router.state_dict().keys()
    require(
        not unsaved,
        f"adapt moves {', '.join(sorted(unsaved))}, which no checkpoint holds",
        "register the buffer without persistent=False",
    )
    for when, other in (("", subject.router()), (" in a bf16 module", subject.router().bfloat16())):
        state = dict(other.named_buffers())
        coarse = [
            name
            for name in moved & state.keys()
            if state[name].is_floating_point()
            and torch.finfo(state[name].dtype).bits < torch.finfo(torch.float32).bits
        ]
        require(
            not coarse,
            f"adapt moves {', '.join(coarse)}, of {state[coarse[0]].dtype if coarse else ''}{when}:"
            " small steps vanish",
            "keep it in float32, in a submodule routers.Float32State, whose buffers are not cast",
        )
    return None


def check_adapt_selects(subject: RouterUnderTest) -> str | None:
    """A bias per expert selects and never weighs, nor does it show in ``logits`` or ``probs``."""
    router, moved = _moved(subject)
    before = subject.router().double().eval()
    if not _per_expert(subject, before, moved):
        return "adapts nothing per expert"
    items = subject.items(40)
    one, other = before(items), router.eval()(items)
    for name in ("logits", "probs"):
        first, second = getattr(one, name), getattr(other, name)
        require(
            first is None or one.candidates is not None or same(first, second),
            f"routing.{name} changes with {', '.join(sorted(moved))}, which adapt moves",
            f"select by score + bias, and give {name} without it: losses would fight the bias",
        )
    stayed = (one.assigned_mask == other.assigned_mask).all(1)
    require(
        same(routes(one)[stayed], routes(other)[stayed]),
        f"weights change with {', '.join(sorted(moved))}, which adapt moves, where choices do not",
        "the bias selects and never weighs: weight = scores.gather(1, expert), without it",
    )
    return None


def check_adapt_balances(subject: RouterUnderTest) -> str | None:
    """A bias per expert that follows the load makes it more even, not less."""
    router, moved = _moved(subject)
    fresh = subject.router().double()
    if not _per_expert(subject, fresh, moved):
        return "adapts nothing per expert"
    items = subject.items(60)
    router = fresh.train()
    first = _spread(router.eval()(items))
    for _ in range(STEPS):
        step(router, router.train()(items))
    last = _spread(router.eval()(items))
    require(
        last <= max(first, 1.5),
        f"{STEPS} steps of adapt on one batch take the largest load from {first:.2f} to "
        f"{last:.2f} times the mean",
        "raise the bias of experts below the mean load and lower that of those above",
    )
    return None


def _moved(subject: RouterUnderTest) -> tuple[Router, set[str]]:
    """A router after many steps whose load was its own, and what they moved."""
    router = subject.router().double().train()
    before = state_of(router)
    with torch.no_grad():
        routing = router(subject.items(40))
    for _ in range(STEPS):
        step(router, routing)
    return router, set(changed(before, state_of(router)))


def step(router: Router, routing: Routing) -> None:
    """Tell a router what a training step tells it: the load, and the tally where it keeps one."""
    router.adapt(routing.requested_load)
    if router.num_counts:
        router.adapt_from_counts(routing.extras["counts"])


def _per_expert(subject: RouterUnderTest, router: Router, moved: set[str]) -> bool:
    state: dict[str, Tensor] = state_of(copied(router))
    return any(state[name].shape == (subject.num_experts,) for name in moved & state.keys())


def _spread(routing: Routing) -> float:
    load = routing.requested_load.double()
    return float(load.max() / load.mean().clamp_min(1e-9))
