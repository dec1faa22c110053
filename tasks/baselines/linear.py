"""Logistic regression whose strength of regularization is chosen on the validation split."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._task import Baseline, Batch, Data, Task


def best_linear(
    x: Any, y: Any, strengths: Sequence[float], score: Callable[[Any], float], steps: int = 300
) -> Any:
    """The logistic regression with the best score; ties prefer the first.

    Args:
        x, y: features and labels to train on.
        strengths: inverse strengths of regularization to try, ``C`` of scikit-learn.
        score: of a fitted model, the higher the better.
        steps: most iterations of the solver.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():  # a model that has not converged is judged as it is
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [LogisticRegression(C=c, max_iter=steps).fit(x, y) for c in strengths]
    return max(models, key=score)


def linear_baseline(
    name: str, task: Task, data: Data, x: Sequence[Any], strengths: Sequence[float], classes: int
) -> Baseline:
    """Fit to features of the training split, and score by the measures of a task with classes.

    Args:
        name: of the baseline.
        task, data: what is predicted.
        x: features of the training, validation and test split.
        strengths: as in ``best_linear``.
        classes: number of classes.
    """

    def scored(model: Any, features: Any, split: Batch) -> float:
        logits = torch.full((len(split["y"]), classes), -torch.inf)
        known = torch.from_numpy(model.classes_)  # some class may be in no training row
        logits[:, known] = torch.from_numpy(model.predict_log_proba(features)).float()
        return score_of(task, logits, split)

    best = best_linear(
        x[0], data.train["y"].numpy(), strengths, lambda model: scored(model, x[1], data.val), 100
    )
    return Baseline(name, scored(best, x[1], data.val), scored(best, x[2], data.test))


def score_of(task: Task, output: Tensor | Any, split: Batch) -> float:
    """The score that a task gives to outputs, as its network returns them, for a whole split."""
    values = {}
    for name, measure in task.measures().items():
        measure.metric.update(*measure.reads(output, split))
        found = measure.metric.compute()
        if isinstance(found, Tensor):  # not the numbers by label
            values[name] = float(found)
    return task.overall(values)
