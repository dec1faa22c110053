"""Mean effects on samples with bootstrap intervals, overall and by label."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._task import Task

#: Bootstrap samples, and how many of them are drawn at a time.
DRAWS, CHUNK = 1000, 100

#: Probabilities of the ends of an interval.
ENDS = (0.025, 0.975)

LOSS = "loss"


class Effects:
    """How much worse a network is under changes, in each measure.

    Effects are positive where a change makes the network worse: the score falls, or rises if it
    is to be minimized; the loss rises.

    Args:
        task: names score and labels.
        labels: of samples ``(N,)``, by labeling.
        with_score: whether the score is a mean over samples; else there is the loss alone.
    """

    def __init__(
        self, task: Task, labels: Mapping[str, NDArray[np.int64]], with_score: bool
    ) -> None:
        self.labels = labels
        self.sizes = {each.name: len(each.names) for each in task.kinds()}
        self.signs = {LOSS: -1.0}
        if with_score:
            self.signs[task.score.name] = 1.0 if task.score.direction == "maximize" else -1.0

    @property
    def main(self) -> str:
        """The score if it is a mean over samples, else the loss."""
        return [*self.signs][-1]

    def merits(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values ``(measures, ...)`` with signs by which higher is better."""
        return values * np.array([*self.signs.values()]).reshape(-1, *[1] * (values.ndim - 1))

    def of(
        self, unchanged: NDArray[np.float64], values: NDArray[np.float64]
    ) -> list[dict[str, Any]]:
        """The effects of each change, as plain values.

        Args:
            unchanged: values of samples without a change, ``(measures, N)``.
            values: of samples under each change, ``(measures, cases, N)``.

        Returns:
            For each change and measure ``all``, which is ``[mean, low, high]``, and for each
            labeling a list of these over labels; None where a number is unknown.
        """
        worse = self.merits(unchanged[:, None] - values)
        found: list[dict[str, Any]] = [{} for _ in range(values.shape[1])]
        for name, differences in zip(self.signs, worse, strict=True):
            parts = {"all": mean_effects(differences)}
            for labeling, of_sample in self.labels.items():
                by_label = [
                    mean_effects(differences[:, of_sample == label])
                    for label in range(self.sizes[labeling])
                ]
                parts[labeling] = np.stack(by_label, 1)
            for case, effects in enumerate(found):
                effects[name] = {part: plain(each[case]) for part, each in parts.items()}
        return found


def mean_effects(differences: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """The mean of each row of ``(cases, N)`` and its 95% interval, ``(cases, 3)``; NaN if unknown.

    The interval is that of the percentile bootstrap over samples (Efron and Tibshirani 1993,
    section 13.3), with the same bootstrap samples for all cases; that of one sample is unknown.

    >>> mean_effects(np.array([[0.0, 1.0] * 50, [1.0] * 100])).round(1).tolist()
    [[0.5, 0.4, 0.6], [1.0, 1.0, 1.0]]
    """
    cases, samples = differences.shape
    if samples == 0:
        return np.full((cases, 3), np.nan)
    mean = differences.mean(1)
    if samples == 1:
        return np.stack([mean, *np.full((2, cases), np.nan)], 1)
    random = np.random.default_rng(seed)
    means = []
    for _ in range(0, DRAWS, CHUNK):
        drawn = random.integers(samples, size=(CHUNK, samples))
        drawn += np.arange(CHUNK)[:, None] * samples
        counts = np.bincount(drawn.ravel(), minlength=CHUNK * samples).reshape(CHUNK, samples)
        means.append(counts @ differences.T / samples)
    low, high = np.quantile(np.concatenate(means), ENDS, axis=0)
    return np.stack([mean, low, high], 1)


def matched_share(effects: Sequence[Sequence[float | None]]) -> float | None:
    """Share of the positive effects ``(E, labels)`` that lies on pairs of an optimal assignment.

    Each expert has one label at most and each label one expert: 1 if experts are needed for
    different labels and for no other. None without a positive effect.

    >>> matched_share([[0.0, 3.0], [2.0, 0.0], [1.0, -4.0]])
    0.8333333333333334
    """
    from scipy.optimize import linear_sum_assignment

    positive = np.nan_to_num(np.array(effects, dtype=np.float64)).clip(0.0)
    if not positive.any():
        return None
    pairs = linear_sum_assignment(positive, maximize=True)
    return float(positive[pairs].sum() / positive.sum())


def plain(values: NDArray[np.float64]) -> Any:
    """Nested lists, with None for NaN."""
    found = values.astype(object)
    found[np.isnan(values)] = None
    return found.tolist()
