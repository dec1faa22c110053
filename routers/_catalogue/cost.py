"""What a router costs, as formulas: counted at a few sizes, then fitted exactly.

Nobody writes a formula down, so none can be out of date.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations, product, starmap
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from .._router import Router
from ..plugins.errors import ConfigError
from ..plugins.signature import defaults
from ..routing import Items

#: ``(D, E, K, L)``: width, experts, experts per item, items in a group.
Size = tuple[int, int, int, int]

#: Squares, powers of two and neither, as some routers refuse the others; no two axes grow together.
SIZES: list[Size] = [
    (8, 16, 2, 12),
    (12, 16, 3, 8),
    (20, 16, 4, 18),
    (8, 64, 3, 18),
    (12, 64, 4, 30),
    (28, 64, 2, 8),
    (8, 256, 4, 8),
    (20, 256, 3, 30),
    (28, 24, 3, 12),
    (12, 40, 2, 18),
    (20, 60, 2, 12),
    (8, 96, 4, 30),
    (28, 200, 2, 18),
    (12, 1024, 3, 12),
]
ENOUGH = 8  # sizes, to tell formulas apart
MOST_TERMS = 4
MOST_STEPS = 4  # how complicated a term may be
MOST_TRIES = 60_000
GROUPS = 2


@dataclass(frozen=True)
class Cost:
    """Formulas in ``D``, ``E``, ``K``, ``L``, the length of a group, and ``B``.

    ``B`` is the least divisor of ``E`` that is not below its root: the side of a square of
    experts, where they form one. All hold for any ``E`` that the router takes.

    Attributes:
        flops: forward FLOPs per item of the matrix products; a multiply-add is 2 and
            element-wise work is not counted.
        parameters: how many, learned or not.
    """

    flops: str
    parameters: str


@cache
def cost_of(kind: Callable[..., Router]) -> Cost:
    """The cost of a router with its default options, but for ``k``.

    >>> import routers
    >>> cost_of(routers.routers["topk"])
    Cost(flops='2DE', parameters='DE')
    """
    has_k = "k" in defaults(kind, skip=2)
    counts = list(_counts(kind, has_k))
    sizes = [size for size, _ in counts]
    flops, parameters = ([count[i] for _, count in counts] for i in (0, 1))
    return Cost(*(_shown(sizes, numbers, has_k) for numbers in (flops, parameters)))


def _counts(kind: Callable[..., Router], has_k: bool) -> Iterator[tuple[Size, tuple[float, float]]]:
    """FLOPs per item and parameters at every size that the router takes."""
    for dim, num_experts, k, length in SIZES:
        try:
            with torch.random.fork_rng(devices=[]):
                router = kind(dim, num_experts, **({"k": k} if has_k else {}))
                items = _items(dim, length)
                router.prepare(torch.arange(len(items)), items.x)
            yield (dim, num_experts, k, length), (_flops(router.eval(), items), _size(router))
        except ConfigError:
            continue


def _items(dim: int, length: int) -> Items:
    generator = torch.Generator().manual_seed(0)
    index = torch.arange(length * GROUPS)
    x = torch.randn(len(index), dim, generator=generator)
    return Items(x, groups=GROUPS, ids=index, task=index % 2)


@torch.no_grad()
def _flops(router: Router, items: Items) -> float:
    with FlopCounterMode(display=False) as counter:
        router(items)
    return int(counter.get_total_flops()) / len(items)


def _size(router: Router) -> int:
    return sum(parameter.numel() for parameter in router.parameters())


# ---- formulas ----


@dataclass(frozen=True)
class Term:
    """A product of powers of the axes."""

    d: int = 0
    e: str = ""
    k: int = 0
    length: int = 0

    @cached_property
    def steps(self) -> int:
        """How complicated it is."""
        return self.d + self.k + 2 * abs(self.length) + _OF_E[self.e].steps

    def __call__(self, size: Size) -> float:
        d, e, k, length = size
        return float(d**self.d * _OF_E[self.e].value(e) * k**self.k * float(length) ** self.length)

    def __str__(self) -> str:
        powers = ["", "{}", "{}²"]
        over = "/L" if self.length < 0 else powers[max(self.length, 0)].format("L")
        return powers[self.k].format("K") + powers[self.d].format("D") + self.e + over


@dataclass(frozen=True)
class _OfExperts:
    value: Callable[[int], float]
    steps: int


def _side(e: int) -> int:
    return next(d for d in range(math.isqrt(e - 1) + 1, e + 1) if e % d == 0)


#: Whole numbers all: a root or a logarithm would hold for some ``E`` alone.
_OF_E: dict[str, _OfExperts] = {
    "": _OfExperts(lambda e: 1.0, 0),
    "E": _OfExperts(float, 1),
    "B": _OfExperts(lambda e: float(_side(e)), 2),
    "E/B": _OfExperts(lambda e: float(e // _side(e)), 2),
    "⌈log₂E⌉": _OfExperts(lambda e: float((e - 1).bit_length()), 2),
    "E²": _OfExperts(lambda e: float(e * e), 3),
}
TERMS = [
    term
    for term in starmap(Term, product((0, 1, 2), _OF_E, (0, 1), (-1, 0, 1)))
    if term.steps <= MOST_STEPS
]


def fit(sizes: Sequence[Size], counts: Sequence[float]) -> str | None:
    """The simplest formula that gives every count exactly; None where none is found.

    >>> fit(SIZES, [2 * d * e + 3 * k for d, e, k, _ in SIZES])
    '2DE + 3K'
    """
    if len(set(counts)) == 1:
        return f"{counts[0]:,.0f}"
    terms = sorted(_useful(sizes, counts), key=lambda term: term.steps)
    columns = np.array([[term(size) for term in terms] for size in sizes])
    goal = np.array(counts, dtype=float)
    for number in range(1, MOST_TERMS + 1):
        if not 0 < math.comb(len(terms), number) <= MOST_TRIES:
            break
        subsets = np.array(list(combinations(range(len(terms)), number)))
        steps = np.array([term.steps for term in terms])[subsets].sum(1)
        found = _exact(columns, goal, subsets[steps.argsort(kind="stable")])
        if found is not None:
            which, weights = found
            return _written([(weights[i], terms[t]) for i, t in enumerate(which)])
    return None


def _useful(sizes: Sequence[Size], counts: Sequence[float]) -> list[Term]:
    """Terms of no higher degree than the counts themselves."""
    most = max(counts)
    return [term for term in TERMS if max(map(term, sizes)) <= 4 * most + 4]


def _exact(
    columns: NDArray[Any], goal: NDArray[Any], subsets: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The first subset of columns whose sum with round weights is the goal."""
    for start in range(0, len(subsets), 20_000):
        part = subsets[start : start + 20_000]
        chosen = columns[:, part].transpose(1, 0, 2)  # (subsets, sizes, terms)
        scale = np.abs(chosen).max(1, keepdims=True)
        weights = np.linalg.pinv(chosen / scale) @ goal / scale[:, 0]
        weights = np.round(weights * 4) / 4
        off = np.abs((chosen @ weights[..., None])[..., 0] - goal).max(1)
        good = (off <= 1e-6 * goal.max()) & (weights != 0).all(1)
        if good.any():
            first = int(good.argmax())
            return part[first], weights[first]
    return None


def _written(parts: Sequence[tuple[float, Term]]) -> str:
    """``[(2, DE), (-1, K)]`` as ``2DE - K``."""
    text = ""
    for weight, term in sorted(parts, key=lambda part: -part[1].steps):
        size = f"{abs(weight):,g}"
        shown = str(term) or size
        shown = shown if size == "1" or not str(term) else size + shown
        sign = " - " if weight < 0 else " + " if text else ""
        text += sign + shown
    return text


def _shown(sizes: Sequence[Size], counts: Sequence[float], has_k: bool) -> str:
    """The formula, or what was counted at one size where there is none."""
    if not sizes:
        return "not counted"
    formula = fit(sizes, counts) if len(sizes) >= ENOUGH else None
    if formula is not None:
        return formula
    d, e, k, length = sizes[0]
    at = f"D={d}, E={e}" + (f", K={k}" if has_k else "") + f", L={length}"
    return f"{counts[0]:,.0f} at {at}"
