"""The input of an oracle, and sums that several oracles need, in NumPy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A batch, and a router's parameters, options and random numbers.

    Attributes:
        x: ``(N, D)`` float64.
        groups: equal contiguous groups.
        real: ``(N,)`` bool, False for padding.
        ids: ``(N,)``.
        task: ``(N,)``.
        projections: ``(E, D, P)``, what each expert multiplies an item by first.
        num_experts: ``E``.
        options: the router's options, including defaults.
        state: its parameters and buffers by name.
        training: whether the router is in training mode.
        draws: the router's random draws, in order.
    """

    x: np.ndarray
    groups: int
    real: np.ndarray
    ids: np.ndarray
    task: np.ndarray
    projections: np.ndarray
    num_experts: int
    options: Mapping[str, Any]
    state: Mapping[str, np.ndarray]
    training: bool = False
    draws: Sequence[np.ndarray] = ()

    @property
    def items(self) -> list[int]:
        """The real items."""
        return [i for i in range(len(self.x)) if self.real[i]]

    @property
    def members(self) -> list[list[int]]:
        """The real items of each group."""
        length = len(self.x) // self.groups
        return [[i for i in self.items if i // length == g] for g in range(self.groups)]

    def nothing(self) -> np.ndarray:
        """``(N, E)`` zeros."""
        return np.zeros((len(self.x), self.num_experts))

    def scores(self, weight: str = "gate.weight") -> np.ndarray:
        """``x W`` one item and one expert at a time."""
        w = self.state[weight]
        return np.array([[float(np.dot(x, row)) for row in w] for x in self.x])


def softmax(h: np.ndarray) -> np.ndarray:
    """Of one vector."""
    p = np.exp(h - h.max())
    return p / p.sum()


def sigmoid(h: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-h))


def softplus(h: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(h))) + np.maximum(h, 0)


def best(scores: np.ndarray, k: int) -> list[int]:
    """Indices of the ``k`` largest of one vector, largest first."""
    return sorted(range(len(scores)), key=lambda e: -scores[e])[:k]


def softmax_rows(case: Case, h: np.ndarray) -> np.ndarray:
    """``softmax`` of each item's scores."""
    return np.array([softmax(row) for row in h]).reshape(len(case.x), -1)


def shares(mass: np.ndarray) -> np.ndarray:
    """Each row over its sum; a row of zeros stays one."""
    return np.array([row / row.sum() if row.any() else row for row in mass])
