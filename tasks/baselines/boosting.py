"""Baseline of tables."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .._task import Baseline, Batch, Data, Task
from ..multi_target.targets import Target
from .linear import score_of

#: Most categories that the trees take as such; the codes of others are read as numbers.
MAX_CATEGORIES = 255


def boosting(
    task: Task, targets: Sequence[Target], cardinalities: Sequence[int], data: Data
) -> Baseline:
    """Boosted trees for each target on the columns of a table.

    Args:
        task: with a measure for each target.
        targets: what is predicted.
        cardinalities: number of codes of each categorical column.
        data: of the task.
    """
    splits = (data.train, data.val, data.test)
    train, *others = (_columns(split) for split in splits)
    width = data.train["x"].shape[1]
    categorical = [width + i for i, size in enumerate(cardinalities) if size <= MAX_CATEGORIES]
    outputs: list[list[Tensor]] = [[], []]
    for target, labels in zip(targets, data.train["y"].unbind(1), strict=True):
        known = ~labels.isnan()
        model = _trees(target, categorical).fit(train[known.numpy()], labels[known].numpy())
        for output, x in zip(outputs, others, strict=True):
            output.append(_logits(target, model, x))
    validation, test = (
        score_of(task, SimpleNamespace(logits=output), split)
        for output, split in zip(outputs, splits[1:], strict=True)
    )
    return Baseline("gradient boosting", validation, test)


def _columns(split: Batch) -> Any:
    """Numbers, NaN where one is missing, and codes: ``(N, F + C)``."""
    numbers = split["x"].masked_fill(split["missing"], torch.nan)
    return torch.cat([numbers, split["categorical"].float()], 1).numpy()


def _trees(target: Target, categorical: Sequence[int]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    options = {"categorical_features": categorical, "max_iter": 200, "random_state": 0}
    if target.kind == "number":
        return HistGradientBoostingRegressor(loss="absolute_error", **options)
    return HistGradientBoostingClassifier(**options)


def _logits(target: Target, model: Any, x: Any) -> Tensor:
    """Outputs as those of the network: a standardised number, log-odds, or a logit per class."""
    if target.kind == "number":
        found = torch.from_numpy(model.predict(x)).float()
        return ((found - target.mean) / target.scale).unsqueeze(1)
    log = torch.from_numpy(model.predict_proba(x)).clamp_min(1e-9).log().float()
    if target.kind == "binary":
        return log[:, 1:] - log[:, :1]
    logits = torch.full((len(log), len(target.classes)), -torch.inf)
    logits[:, torch.from_numpy(model.classes_).long()] = log
    return logits
