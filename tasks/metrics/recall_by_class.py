"""Recall of each class, by the name of the class."""

from collections.abc import Sequence

from torch import Tensor
from torchmetrics.classification import MulticlassRecall


class RecallByClass(MulticlassRecall):
    """Recall of each class, under the plain name of the class.

    ``torchmetrics.wrappers.ClasswiseWrapper`` prefixes these names instead. Samples labeled
    ``ignore_index`` are left out.

    >>> import torch
    >>> metric = RecallByClass(("cat", "dog"))
    >>> metric.update(torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1]))
    >>> {name: value.item() for name, value in metric.compute().items()}
    {'cat': 1.0, 'dog': 0.5}
    """

    def __init__(self, classes: Sequence[str], ignore_index: int = -1) -> None:
        super().__init__(len(classes), average=None, ignore_index=ignore_index)
        self.classes = tuple(classes)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]
        """Recall by class."""
        return dict(zip(self.classes, super().compute(), strict=True))
