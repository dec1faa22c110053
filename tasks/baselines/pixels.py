"""Baseline of images."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from .._task import Baseline, Data, Task
from .linear import linear_baseline

#: Longest side of the images that it sees.
SIDE = 32

#: Inverse strengths of regularization to try.
STRENGTHS = (0.001, 0.01, 0.1)


def linear_on_pixels(task: Task, data: Data) -> Baseline:
    """Logistic regression on standardised pixels; larger images are scaled to 32 pixels a side."""
    from sklearn.preprocessing import StandardScaler

    splits = [_pixels(task.collate(split)["x"]) for split in (data.train, data.val, data.test)]
    scaler = StandardScaler().fit(splits[0])
    x = [scaler.transform(split) for split in splits]
    classes = len(task.kinds()[0].names)
    return linear_baseline("linear on pixels", task, data, x, STRENGTHS, classes)


def _pixels(x: Tensor) -> Any:
    if max(x.shape[2:]) > SIDE:
        x = F.adaptive_avg_pool2d(x, (min(x.shape[2], SIDE), min(x.shape[3], SIDE)))
    return x.flatten(1).numpy()
