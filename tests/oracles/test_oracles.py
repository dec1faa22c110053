"""Every router of the catalogue against a slow computation from its paper's equation.

An oracle is a file of the router's name with ``weights(case)``, what each expert's output counts
for ``(N, E)``, or ``blend(case)``, dispatch and combine ``(G, L, S)``; and with ``probs(case)``,
the gate's distribution ``(N, E)``. It may have ``expected_load`` and ``combine``, where outputs
are not merely summed up; name ``OPTIONS`` and numbers of ``EXPERTS`` to try, and ``prepare`` the
router.
"""

import importlib
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import routers
from routers import Items, Router, Routing
from routers.routing import Slots

from ._case import Case


def documented(router: type[Router]) -> str:
    """The docstrings of a router and of its module."""
    return f"{sys.modules[router.__module__].__doc__} {router.__doc__}"


HERE = Path(__file__).parent
FILES = sorted(p for p in HERE.glob("*.py") if not p.stem.startswith(("_", "test_")))
CATALOGUE = [n for n in routers.available() if routers.ROUTERS[n].__module__.startswith("routers.")]
#: Routers whose docstring names an equation of a paper; only these must have an oracle.
PUBLISHED = [n for n in CATALOGUE if re.search(r"\bequations? \d", documented(routers.ROUTERS[n]))]
SEEDS = range(2)  # one for each number of experts
DIM = 5

#: Groups, items per group, and which items are padding.
BATCHES = {
    "one group": (1, 11, lambda n: np.zeros(n, bool)),
    "padding": (1, 13, lambda n: np.arange(n) % 4 == 1),
    "groups": (3, 7, lambda n: np.zeros(n, bool)),
    "groups and padding": (3, 8, lambda n: (np.arange(n) % 5 == 2) | (np.arange(n) // 8 == 1)),
}


def oracle_of(name: str) -> ModuleType:
    assert (HERE / f"{name}.py").exists(), (
        f"router {name!r} has no oracle: write tests/oracles/{name}.py, a slow NumPy computation "
        "from the paper's equation and not from the router's code"
    )
    return importlib.import_module(f".{name}", __package__)


TRIALS = [
    pytest.param(name, options, id="-".join([name, *(f"{k}={v}" for k, v in options.items())]))
    for name in CATALOGUE
    if (HERE / f"{name}.py").exists()  # a lack of one is said once
    for options in getattr(oracle_of(name), "OPTIONS", [{}])
]

#: What torch draws numbers with.
DRAWING = {
    "rand", "randn", "rand_like", "randn_like", "randint", "randperm", "bernoulli", "multinomial",
    "uniform_", "normal_", "exponential_", "bernoulli_", "random_",
}  # fmt: skip


class Draws(TorchFunctionMode):
    """Notes every number that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        drawn = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in DRAWING:
            self.seen.append(drawn.detach().numpy().copy())
        return drawn


def case_of(name: str, options: dict[str, Any], batch: str, seed: int) -> tuple[Router, Case]:
    """A router with random parameters in float64, and its batch."""
    rng = np.random.default_rng(seed)
    experts = getattr(oracle_of(name), "EXPERTS", (6, 10))[seed % 2]
    groups, length, padding = BATCHES[batch]
    n = groups * length
    torch.manual_seed(seed)
    router = routers.build(name, DIM, experts, **options).double()
    with torch.no_grad():
        for parameter in router.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape))))
    case = Case(
        x=rng.normal(size=(n, DIM)),
        groups=groups,
        real=~padding(n),
        ids=rng.integers(0, 50, n),
        task=rng.integers(0, 4, n),
        projections=rng.normal(size=(experts, DIM, 3)),
        num_experts=experts,
        options={**routers.ROUTERS.options(name), **options},
        state={},
    )
    prepare = getattr(oracle_of(name), "prepare", None)
    if prepare:
        prepare(router, case)
    state = {key: value.detach().numpy().copy() for key, value in router.state_dict().items()}
    return router, replace(case, state=state)


def routed(router: Router, case: Case, training: bool) -> tuple[Routing, Case]:
    """What the router says, and what it drew to say it."""
    items = Items(
        torch.from_numpy(case.x),
        groups=case.groups,
        mask=None if case.real.all() else torch.from_numpy(case.real),
        ids=torch.from_numpy(case.ids),
        task=torch.from_numpy(case.task),
        projections=torch.from_numpy(case.projections),
    )
    torch.manual_seed(7)
    with Draws() as draws, torch.no_grad():
        routing = router.train(training)(items)
    return routing, replace(case, training=training, draws=draws.seen)


def dense(routing: Routing) -> np.ndarray:
    """What each expert's output counts for, ``(N, E)``, or ``(N, E, T)`` for ``T`` tasks."""
    shape = (routing.num_items, routing.num_experts, *routing.weight.shape[1:])
    grid = np.zeros(shape)
    for item, expert, weight in zip(routing.item, routing.expert, routing.weight, strict=True):
        grid[item, expert] += weight.numpy()
    return grid


def same(found: torch.Tensor | np.ndarray, expected: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9, atol=1e-11, err_msg=what)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_equation_has_an_oracle(name):
    oracle_of(name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_oracle_is_complete(path):
    oracle = oracle_of(path.stem)
    assert hasattr(oracle, "weights") or hasattr(oracle, "blend")
    assert hasattr(oracle, "probs"), "define the gate's distribution, also where it is weights"


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("name", "options"), TRIALS)
def test_router_is_what_its_oracle_says(name, options, batch):
    oracle = oracle_of(name)
    for seed in SEEDS:
        router, case = case_of(name, options, batch, seed)
        for training in (True, False):
            routing, seen = routed(router, case, training)
            where = f"seed {seed}, {'in training' if training else 'in evaluation'}"
            if hasattr(oracle, "blend"):
                for part, expected in zip(("dispatch", "combine"), oracle.blend(seen), strict=True):
                    same(getattr(routing.execution, part), expected, f"{part}, {where}")
            if hasattr(oracle, "weights"):
                expected = oracle.weights(seen)
                same(dense(routing), expected, f"weights, {where}")
                if not isinstance(routing.execution, Slots):
                    chosen = getattr(oracle, "chosen", lambda case, w=expected: w != 0)(seen)
                    same(routing.assigned_mask, chosen, f"who works on what, {where}")
            if hasattr(oracle, "probs"):
                found = routing.to_dense(routing.probs).numpy()[case.real]
                same(found, oracle.probs(seen)[case.real], f"probs, {where}")
            if hasattr(oracle, "combine"):
                outputs = np.random.default_rng(seed).normal(size=(*seen.nothing().shape, 3))
                outputs = outputs * seen.real[:, None, None]  # padding has no experts
                given = torch.from_numpy(outputs), torch.from_numpy(dense(routing))
                same(
                    routing.execution.combiner.combine(*given), oracle.combine(seen, outputs), where
                )
            if hasattr(oracle, "expected_load"):
                same(routing.expected_load, oracle.expected_load(seen), f"expected load, {where}")


def test_every_oracle_is_of_a_router():
    assert {path.stem for path in FILES} <= set(CATALOGUE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_oracles_know_nothing_of_the_routers(path):
    text = path.read_text(encoding="utf-8")
    assert "import routers" not in text
    assert "from routers" not in text
