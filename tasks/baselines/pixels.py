"""Baseline of images."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .._task import Baseline, Batch, Data, Task
from ..loading.batches import InOrder
from .linear import linear_baseline

#: Longest side of the images that it sees.
SIDE = 32

#: Images that are scaled at a time.
ROWS = 256

#: Inverse strengths of regularization to try.
STRENGTHS = (0.001, 0.01, 0.1)


def linear_on_pixels(task: Task, data: Data) -> Baseline:
    """Logistic regression on standardised pixels; larger images are scaled to 32 pixels a side."""
    from sklearn.preprocessing import StandardScaler

    splits = [_pixels(task, split) for split in (data.train, data.val, data.test)]
    scaler = StandardScaler().fit(splits[0])
    x = [scaler.transform(split) for split in splits]
    classes = len(task.kinds()[0].names)
    return linear_baseline("linear on pixels", task, data, x, STRENGTHS, classes)


def _pixels(task: Task, split: Batch) -> Any:
    """Some images at a time, since all may not fit in memory as floats."""
    parts = (task.collate(batch)["x"] for batch in InOrder(split, ROWS))
    return torch.cat([_small(part).flatten(1) for part in parts]).numpy()


def _small(x: Tensor) -> Tensor:
    if max(x.shape[2:]) <= SIDE:
        return x
    return F.adaptive_avg_pool2d(x, (min(x.shape[2], SIDE), min(x.shape[3], SIDE)))
