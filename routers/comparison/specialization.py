"""Specialization: how far experts and labels of items determine each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..plugins.errors import ConfigError
from .information import mutual_information, normalized_mutual_information
from .routes import Matrix, indicator


@dataclass(frozen=True)
class Specialization:
    """Mutual information of expert and label, and what chance gives.

    Attributes:
        nmi: normalized mutual information over assignments: 0 if the expert says nothing about
            the label, 1 if they determine each other.
        bits: mutual information, bits per assignment.
        chance: mean of ``nmi`` if labels belonged to other items at random.
        low, high: interval that holds the middle 95% of those values; ``nmi`` above it is
            specialization.
        p_value: of ``nmi`` under such permutations, one-sided, ``(1 + c) / (1 + P)`` for ``c``
            of ``P`` permutations with at least that value.
    """

    nmi: float
    bits: float
    chance: float
    low: float
    high: float
    p_value: float


def specialization(
    routes: Matrix,
    labels: ArrayLike,
    *,
    samples: ArrayLike | None = None,
    permutations: int = 100,
    seed: int = 0,
) -> Specialization:
    """Mutual information of the experts of items and their labels, with a permutation test.

    Every assignment counts once. Where every item has one expert, ``nmi`` is
    ``sklearn.metrics.normalized_mutual_info_score`` of experts and labels.

    Args:
        routes: ``(N, E)``, not 0 where the item has the expert.
        labels: ``(N,)``, of any type.
        samples: ``(N,)``, the sample of each item, if all items of a sample have one label: then
            labels are permuted among samples, since items of one sample are alike. None permutes
            them among items.
        permutations: of the labels.
        seed: of the permutations.

    Raises:
        ConfigError: if there is no label for each item, or items of a sample differ in theirs.

    >>> found = specialization(np.eye(2)[[0, 0, 1, 1] * 20], list("aabb") * 20)
    >>> found.nmi, found.bits, found.high < 0.2
    (1.0, 1.0, True)
    """
    found = indicator(routes)
    n, experts = found.shape
    names, kind = np.unique(np.asarray(labels), return_inverse=True)
    if kind.shape != (n,):
        raise ConfigError(f"labels have shape {np.shape(labels)}: expected (N={n},)")
    unit, kinds_of_units = np.arange(n), kind
    if samples is not None:
        unit, kinds_of_units = _by_sample(np.asarray(samples), kind)
    item = np.repeat(np.arange(n), np.diff(found.indptr))
    first_cell, size = found.indices.astype(np.int64) * len(names), experts * len(names)

    def table(of_units: NDArray[np.int64]) -> NDArray[np.int64]:
        cells = first_cell + of_units[unit][item]
        return np.bincount(cells, minlength=size).reshape(experts, len(names))

    observed = table(kinds_of_units)
    random = np.random.default_rng(seed)
    by_chance = [
        normalized_mutual_information(table(random.permutation(kinds_of_units)))
        for _ in range(permutations)
    ]
    nmi = normalized_mutual_information(observed)
    low, high = np.quantile(by_chance, [0.025, 0.975]) if by_chance else (0.0, 0.0)
    return Specialization(
        nmi=nmi,
        bits=mutual_information(observed),
        chance=float(np.mean(by_chance)) if by_chance else 0.0,
        low=float(low),
        high=float(high),
        p_value=(1 + sum(each >= nmi for each in by_chance)) / (1 + permutations),
    )


def _by_sample(
    samples: NDArray[np.generic], kind: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The place of each item's sample among them, ``(N,)``, and the label of each sample."""
    if samples.shape != kind.shape:
        raise ConfigError(f"samples have shape {samples.shape}: expected (N={len(kind)},)")
    _, first, unit = np.unique(samples, return_index=True, return_inverse=True)
    if (kind[first][unit] != kind).any():
        raise ConfigError("labels differ within a sample: leave out samples to permute items")
    return unit, kind[first]
