"""What a plant is: a trap, where it is planted, and the check that has to catch it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar

import pytest

import routers
from routers import LOSSES, Router, Routing
from routers.blocks.noise import jittered
from routers.topk import TopK


class Copy(TopK):
    """Top-K in steps, so that one of them can be done wrongly."""

    sound = True
    search_space: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, dim, num_experts, *, jitter=0.0):
        super().__init__(dim, num_experts, jitter=jitter)

    def scores(self, items):
        return self.gate(jittered(items, self.jitter) if self.training else items)

    def choose(self, logits):
        return logits.detach().topk(self.k, -1).indices

    def weigh(self, logits, expert):
        return logits.gather(1, expert).softmax(-1)

    def forward(self, items):
        logits = self.scores(items)
        expert = self.choose(logits)
        weight = self.weigh(logits, expert)
        return Routing.by_item(items, expert, weight, self.num_experts, logits=logits)


Plant = type[Router] | Callable[[pytest.MonkeyPatch], Any]


@dataclass(frozen=True)
class Planted:
    """A trap, the plant, the check that catches it, and the router a patch is tried on."""

    trap: int
    plant: Plant
    check: str
    says: str
    router: str = "topk"

    @property
    def label(self) -> str:
        return f"{self.trap:02d}-{self.plant.__name__.strip('_<>')}-{self.check}"

    def where(self, patch: pytest.MonkeyPatch) -> type[Router] | str:
        """The router to check, once the trap is planted."""
        if isinstance(self.plant, type):
            return self.plant
        self.plant(patch)
        return self.router

    def sound(self) -> type[Router] | str:
        """The same without the trap."""
        if not isinstance(self.plant, type):
            return self.router
        return next(kind for kind in self.plant.__mro__ if is_sound(kind))


def is_sound(kind: type) -> bool:
    """Whether nothing is planted in it: a registered router, or marked so."""
    return kind in routers.ROUTERS.values() or vars(kind).get("sound", False)


def loss_of(name):
    """A decorator: plants a function in the place of a loss."""

    def planted(function):
        @wraps(function)
        def plant(patch):
            patch.setitem(LOSSES._parts, name, function)

        return plant

    return planted


def share(counts):
    return counts / counts.sum().clamp_min(1)


def mean_probs(routing):
    return routing.prob_sums / routing.num_real.clamp_min(1)
