"""Experts that items of a label cannot use: written by hand, or those that work on it most."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from routers import OptionError
from routers.plugins import unknown

from .._task import Labeling

#: Experts by labeling and label.
Masks = dict[str, dict[int, list[int]]]

_EXAMPLE = "a labeling such as class, or experts by label as in {class: {cat: [0, 2]}}"


def read_masks(written: Any, labelings: Sequence[Labeling], experts: int) -> Masks | str | None:
    """The masks that a value describes, or the labeling for whose labels to choose them.

    Args:
        written: a name, a mapping, or None for no masks.
        labelings: of the task.
        experts: number that every layer has.

    Raises:
        ConfigError: for an unknown labeling, label or expert.
    """
    if written is None:
        return None
    known = {each.name: each for each in labelings}
    if isinstance(written, str):
        if written not in known:
            raise unknown("mask", written, known)
        return written
    if not isinstance(written, Mapping) or not written:
        raise OptionError("mask", written, _EXAMPLE)
    return {
        str(name): _read_labels(str(name), known, of_label, experts)
        for name, of_label in written.items()
    }


def _read_labels(
    name: str, known: Mapping[str, Labeling], written: Any, experts: int
) -> dict[int, list[int]]:
    if name not in known:
        raise unknown("mask", name, known)
    if not isinstance(written, Mapping) or not written:
        raise OptionError(f"mask.{name}", written, "experts by label as in {cat: [0, 2]}")
    found = {}
    for label, chosen in written.items():
        names = known[name].names
        if str(label) not in names:
            raise unknown(f"mask.{name}", label, names)
        is_list = isinstance(chosen, list) and chosen and all(type(e) is int for e in chosen)
        if not is_list or not all(0 <= expert < experts for expert in chosen):
            expected = f"a list of experts in [0, {experts - 1}]"
            raise OptionError(f"mask.{name}.{label}", chosen, expected)
        found[names.index(str(label))] = list(chosen)
    return found


def busiest(table: Tensor) -> dict[int, list[int]]:
    """For each label that occurs the expert that works most on it; ``table`` is ``(E, labels)``.

    >>> import torch
    >>> busiest(torch.tensor([[3.0, 0.0, 0.0], [1.0, 2.0, 0.0]]))
    {0: [0], 1: [1]}
    """
    occurs = (table.sum(0) > 0).nonzero().flatten().tolist()
    return {label: [int(table[:, label].argmax())] for label in occurs}
