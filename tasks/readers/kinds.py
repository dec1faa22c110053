"""Results of readers: tensors and names."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Images with labels.

    Attributes:
        x: ``(N, C, H, W)`` uint8.
        y: ``(N,)`` int64, places in ``classes``.
        classes: their names.
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Texts:
    """Texts with labels.

    Attributes:
        texts: N texts, as their bytes.
        y: ``(N,)`` int64, places in ``classes``.
        classes: their names.
        group: ``(N,)`` int64, places in ``groups``; None where no group was asked for.
        groups: their names.
    """

    texts: list[bytes]
    y: Tensor
    classes: tuple[str, ...]
    group: Tensor | None
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of features and targets.

    Attributes:
        categorical: ``(N, Fc)`` int64; 0 is missing, 1 a category not (or rarely) seen in
            training, the others from 2.
        cardinalities: Fc numbers of codes, those two included.
        numeric: ``(N, Fn)`` float32, NaN where missing.
        targets: ``(N, T)`` float32, NaN where missing; 0 or 1, a class, or a number.
        categorical_names, numeric_names, target_names: of the columns, in order.
        target_kinds: ``binary``, ``classes`` or ``number`` of each target.
        target_classes: names of each target's classes; none of a number's.
        views: columns of each declared group of features.
    """

    categorical: Tensor
    cardinalities: tuple[int, ...]
    numeric: Tensor
    targets: Tensor
    categorical_names: tuple[str, ...]
    numeric_names: tuple[str, ...]
    target_names: tuple[str, ...]
    target_kinds: tuple[str, ...]
    target_classes: tuple[tuple[str, ...], ...]
    views: Mapping[str, tuple[str, ...]]
