"""Checks of ``adapt``: adapted state is a saved buffer that selects experts and sets no weight."""

import torch

from ..._router import Router
from ...routing import Routing
from ..harness import RouterUnderTest, changed, routed, routes, same, state_of
from ..results import require

STEPS = 200  # enough for steps of 0.001 to change a choice


def check_adapt(subject: RouterUnderTest) -> None:
    """``adapt(load)`` takes any load in training, moves nothing in eval, and eval stays alike."""
    e = subject.num_experts
    for load in (torch.zeros(e, dtype=torch.int64), torch.arange(e), torch.full((e,), 5)):
        router = subject.router().double().train()
        router.adapt(load)
        router.eval()
        for items in subject.batches():
            first, second = routes(router(items)), routes(router(items))
            why = f"after adapt({load.tolist()}) weights are not finite"
            hint = "handle a step without items; change state by a bounded step"
            require(first.isfinite().all(), why, hint)
            why = "after adapt(load), eval gives two routes for one input"
            hint = "change buffers in adapt, and nowhere else"
            require(torch.equal(first, second), why, hint)
    router = subject.router().double().train()
    routing = routed(router, subject.items(6, 2))
    before = state_of(router.eval())
    step(router, routing)
    moved = changed(before, state_of(router))
    why = f"adapt changes {', '.join(moved)} in eval, so evaluating changes later training"
    require(not moved, why, "write if self.training: in adapt and adapt_from_counts")


def check_counts(subject: RouterUnderTest) -> str | None:
    """A routing holds ``num_counts`` counts in training, and none in eval."""
    size = subject.router().num_counts
    for items in subject.batches():
        tally = subject.in_training(items).extras.get("counts")
        why = "a routing holds counts, but num_counts is 0, so adapt_from_counts never gets them"
        hint = "declare num_counts, or leave counts out"
        require(size or tally is None, why, hint)
        shape = None if tally is None else (tally.dtype, *tally.shape)
        why = f"routing.extras['counts'] is {shape}, expected int64 ({size},) from num_counts"
        hint = "count in integers, which add up over batches and ranks; count nothing for padding"
        require(not size or shape == (torch.int64, size), why, hint)
        why = "a routing holds counts in eval, where nothing is adapted"
        hint = 'give extras={"counts": ...} if self.training'
        require("counts" not in subject.in_eval(items).extras, why, hint)
    return None if size else "has no counts"


def check_adapt_moves_buffers(subject: RouterUnderTest) -> str | None:
    """State that ``adapt`` changes is not a parameter, stays float32 and is saved."""
    router, moved = _moved(subject)
    if not moved:
        return "adapts nothing"
    parameters = moved & dict(router.named_parameters()).keys()
    why = f"adapt changes {', '.join(sorted(parameters))}, which the optimizer changes as well"
    hint = "make it a buffer: self.register_buffer(name, torch.zeros(...))"
    require(not parameters, why, hint)
    unsaved = moved - router.state_dict().keys()
    why = f"adapt changes {', '.join(sorted(unsaved))}, which no checkpoint holds"
    hint = "register the buffer without persistent=False"
    require(not unsaved, why, hint)
    for when, other in (("", subject.router()), (" in a bf16 module", subject.router().bfloat16())):
        for name, buffer in other.named_buffers():
            require(
                name not in moved or not buffer.is_floating_point() or buffer.itemsize >= 4,
                f"adapt changes {name}, of {buffer.dtype}{when}: small steps vanish",
                "keep it in float32: a routers.blocks.Float32State has buffers that are never cast",
            )
    return None


def check_adapt_selects(subject: RouterUnderTest) -> str | None:
    """A bias per expert changes selection, but no weight, no ``logits`` and no ``probs``."""
    router, moved = _moved(subject)
    before = subject.router().double().eval()
    if not _per_expert(subject, before, moved):
        return "adapts nothing per expert"
    items = subject.items(40)
    one, other = before(items), router.eval()(items)
    for name in ("logits", "probs"):
        first, second = getattr(one, name), getattr(other, name)
        why = f"routing.{name} depends on {', '.join(sorted(moved))}, which adapt changes"
        hint = f"select by score + bias and leave the bias out of {name}: losses would oppose it"
        require(first is None or one.candidates is not None or same(first, second), why, hint)
    stayed = (one.assigned_mask == other.assigned_mask).all(1)
    why = f"weights of unchanged choices depend on {', '.join(sorted(moved))}, which adapt changes"
    hint = "use the bias to select, not to weigh: weight = scores.gather(1, expert), without it"
    require(same(routes(one)[stayed], routes(other)[stayed]), why, hint)
    return None


def check_adapt_balances(subject: RouterUnderTest) -> str | None:
    """A bias per expert that follows the load makes the load more even."""
    _, moved = _moved(subject)
    router = subject.router().double()
    if not _per_expert(subject, router, moved):
        return "adapts nothing per expert"
    items = subject.items(60)
    first = _spread(router.eval()(items))
    for _ in range(STEPS):
        step(router, router.train()(items))
    last = _spread(router.eval()(items))
    require(
        last <= max(first, 1.5),
        f"{STEPS} steps of adapt on one batch change the largest load from {first:.2f} to "
        f"{last:.2f} times the mean",
        "raise the bias of experts below the mean load and lower that of those above",
    )
    return None


def _moved(subject: RouterUnderTest) -> tuple[Router, set[str]]:
    """A router after many adapted steps, and the names of the state that changed."""
    router = subject.router().double().train()
    before = state_of(router)
    with torch.no_grad():
        routing = router(subject.items(40))
    for _ in range(STEPS):
        step(router, routing)
    return router, set(changed(before, state_of(router)))


def step(router: Router, routing: Routing) -> None:
    """Adapt a router as a training step does: to the load, and to the counts if it has any."""
    router.adapt(routing.requested_load)
    if router.num_counts:
        router.adapt_from_counts(routing.extras["counts"])


def _per_expert(subject: RouterUnderTest, router: Router, moved: set[str]) -> bool:
    state = state_of(router)
    return any(state[name].shape == (subject.num_experts,) for name in moved & state.keys())


def _spread(routing: Routing) -> float:
    load = routing.requested_load.double()
    return float(load.max() / load.mean().clamp_min(1e-9))
