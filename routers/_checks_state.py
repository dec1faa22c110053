"""Checks of what a router remembers: determinism, checkpoints, copies, adaptation."""

import io
import pickle

import torch

from ._checks_adapt import STEPS
from ._checks_subject import (
    Subject,
    changed,
    copied,
    require,
    routes,
    same,
    seeded,
    state_of,
)
from ._items import Items
from ._router import Router


def check_eval_deterministic(subject: Subject) -> None:
    """In eval the same items get the same routes, and no random number is drawn."""
    router = subject.router().double().eval()
    for items in subject.batches():
        with seeded(1):
            first = routes(router(items))
        with seeded(2):
            before = torch.get_rng_state()
            second = routes(router(items))
            after = torch.get_rng_state()
        require(
            torch.equal(first, second),
            "eval gives two routes for one input",
            "draw noise only where self.training",
        )
        require(
            torch.equal(before, after),
            "eval draws from the global random generator",
            "draw noise only where self.training, or from a torch.Generator of your own",
        )


def check_inputs_untouched(subject: Subject) -> None:
    """No forward pass writes into the items it was given."""
    for wide in subject.batches():
        items = Items(wide.x.float(), wide.groups, wide.mask, wide.ids, wide.task)
        fields = {n: v for n, v in vars(items).items() if isinstance(v, torch.Tensor)}
        for training in (True, False):
            before = {name: value.clone() for name, value in fields.items()}
            subject.router().train(training)(items)
            written = changed(before, fields)
            require(
                not written,
                f"forward changed {', '.join('items.' + name for name in written)} in place",
                "write x = x * 2 instead of x.mul_(2); dataclasses.replace(items, x=...)",
            )


def check_forward_keeps_state(subject: Subject) -> None:
    """No forward pass moves a parameter or buffer: recomputed activations would move it twice."""
    router = subject.router().double()
    for training in (True, False):
        router.train(training)
        before = state_of(router)
        for items in subject.batches():
            router(items)
        moved = changed(before, state_of(router))
        require(
            not moved,
            f"forward changed {', '.join(moved)}",
            "move state in adapt(load), which is called once per optimizer step",
        )


def check_state_dict_round_trip(subject: Subject) -> None:
    """A fresh router that loads the state of a used one routes as it does."""
    used = _adapted(subject).eval()
    stream = io.BytesIO()
    torch.save(used.state_dict(), stream)
    stream.seek(0)
    fresh = subject.build(seed=5).double().eval()
    fresh.load_state_dict(torch.load(stream, weights_only=True))
    _require_equal(
        subject,
        used,
        fresh,
        "a router that loads the state dict of another routes differently",
        "keep every tensor it needs in a Parameter or with register_buffer",
    )


def check_copy_and_pickle(subject: Subject) -> None:
    """A deep copy and a pickled copy route as the original."""
    router = _adapted(subject).eval()
    mend = "keep no lambda, generator, open file or local class as an attribute"
    _require_equal(subject, router, copied(router), "a deep copy routes differently", mend)
    pickled = pickle.loads(pickle.dumps(router))
    _require_equal(subject, router, pickled, "a pickled copy routes differently", mend)


def _adapted(subject: Subject) -> Router:
    """A router that has been trained, so that what follows the load has moved choices."""
    router = subject.router().double().train()
    e = subject.num_experts
    with seeded(1):
        load = router(subject.items(6, 2)).demand
    for seen in (*[load] * STEPS, torch.zeros(e, dtype=torch.int64), torch.arange(e)):
        router.adapt(seen)
    return router


def _require_equal(subject: Subject, one: Router, other: Router, why: str, mend: str) -> None:
    for items in subject.batches():
        require(same(routes(one(items)), routes(other(items))), why, mend)
