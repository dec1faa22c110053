"""Logistic regression baselines of the tasks on pixels and points.

The inputs of a batch are flattened and standardised; scikit-learn, deterministic. The
regularization strength is chosen on the validation split, the score is of the test split.

    python benchmarks/baselines/linear.py
"""

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from tasks import Batch, build
from tasks.baselines import best_linear

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)

#: Functions from a batch to the labels of each target, by task.
TARGETS: dict[str, dict[str, Callable[[Batch], Tensor]]] = {
    "digits": {"accuracy": lambda batch: batch["y"]},
    "permuted_digits": {"accuracy": lambda batch: batch["y"]},
    "planted": {"accuracy": lambda batch: batch["y"]},
    "two_digits": {
        f"accuracy/{name}": lambda batch, index=index: batch["y"][:, index].long()
        for index, name in enumerate(("left", "right", "sum", "parity"))
    },
}


def baseline(task: str) -> dict[str, float]:
    """Test accuracy of every target of a task."""
    built = build(task)
    data = built.data()
    splits = [built.collate(split) for split in (data.train, data.val, data.test)]
    scaler = StandardScaler().fit(_flat(splits[0]))
    x = [scaler.transform(_flat(split)) for split in splits]
    return {
        name: _best(x, [of(split).numpy() for split in splits])
        for name, of in TARGETS[task].items()
    }


def _flat(split: Batch) -> npt.NDArray[np.float32]:
    return split["x"].flatten(1).numpy()


def _best(x: list[npt.NDArray[np.float32]], y: list[npt.NDArray[np.int64]]) -> float:
    """Test accuracy of the strength with the best validation accuracy; ties prefer the weakest."""
    best = best_linear(x[0], y[0], STRENGTHS, lambda model: model.score(x[1], y[1]), steps=500)
    return float(best.score(x[2], y[2]))


if __name__ == "__main__":
    print(json.dumps({task: baseline(task) for task in TARGETS}, indent=1))
