"""A layer's input as items: tokens one by one, or whole samples."""

from typing import NamedTuple

import torch
from torch import Tensor

from routers import Items

from .._bank import Bank


class Inputs(NamedTuple):
    """What a layer works on.

    Attributes:
        items: what the router sees, ``(N, D)`` with its groups and names.
        rows: what the experts see, ``(N, ...)``.
        inner: ``(N, L)`` bool, False at padding inside sequences; None where all is real.
    """

    items: Items
    rows: Tensor
    inner: Tensor | None


def inputs_of(
    bank: Bank, x: Tensor, mask: Tensor | None, ids: Tensor | None, task: Tensor | None
) -> Inputs:
    """``x`` as ``bank`` takes it; ``ValueError`` naming the shapes where they do not fit."""
    axes = bank.row_axes()
    read = _samples if len(axes) > 1 else _tokens
    wanted = f"({'N' if len(axes) > 1 else '...'}, {', '.join(axes)}) with D={bank.dim}"
    fits = x.dim() == len(axes) + 1 or (len(axes) == 1 and x.dim() > 1)
    if not fits or x.shape[axes.index("D") - len(axes)] != bank.dim:
        raise ValueError(f"x must be {wanted}, got {tuple(x.shape)}")
    return read(bank, x, mask, ids, task)


def _tokens(
    bank: Bank, x: Tensor, mask: Tensor | None, ids: Tensor | None, task: Tensor | None
) -> Inputs:
    """Every vector ``(D,)`` of ``(..., D)`` is an item; the first of several axes is groups."""
    lead = x.shape[:-1]
    if task is not None and task.shape == lead[:1]:
        task = task.view(-1, *[1] * (len(lead) - 1)).expand(lead)
    _check_like(lead, mask=mask, ids=ids, task=task)
    groups = max(lead[0], 1) if len(lead) > 1 else 1
    rows = _blank(x, mask).reshape(-1, bank.dim)
    flat = [None if v is None else v.reshape(-1) for v in (mask, ids, task)]
    return Inputs(Items(rows, groups, *flat), rows, None)


def _samples(
    bank: Bank, x: Tensor, mask: Tensor | None, ids: Tensor | None, task: Tensor | None
) -> Inputs:
    """Every ``x[i]`` is an item, seen by the router as its mean; all are one group."""
    inner = None
    if mask is not None and mask.dim() == 2 and "L" in bank.row_axes():
        _check_like(x.shape[:2], mask=mask)
        inner, mask = mask, mask.any(1)
    _check_like(x.shape[:1], mask=mask, ids=ids, task=task)
    x = _blank(x, mask if inner is None else inner)
    return Inputs(Items(bank.pool(x, inner), mask=mask, ids=ids, task=task), x, inner)


def _blank(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` with zeros at padding: what lies there may be NaN, and NaN times 0 is NaN."""
    if mask is None:
        return x
    return x.masked_fill(~mask.view(*mask.shape, *[1] * (x.dim() - mask.dim())), 0.0)


def _check_like(shape: torch.Size, **values: Tensor | None) -> None:
    for name, value in values.items():
        if value is not None and value.shape != shape:
            raise ValueError(f"{name} must be {tuple(shape)}, got {tuple(value.shape)}")
