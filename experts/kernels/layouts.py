"""How the rows of all experts lie in one buffer, and the matrix products over it.

Every layout offers the same two products:

- ``grouped_matmul``: each row by its expert's matrix, ``(S, I)`` and ``(E, I, O)`` to ``(S, O)``;
- ``grouped_outer``: each expert's sum of outer products, ``(S, I)`` and ``(S, O)`` to
  ``(E, I, O)``, 0 for an expert without rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Layout(Protocol):
    """Rows of all experts, expert by expert or otherwise."""

    def grouped_matmul(self, rows: Tensor, stack: Tensor) -> Tensor:
        """``(S, I)`` and ``(E, I, O)`` to ``(S, O)``."""

    def grouped_outer(self, left: Tensor, right: Tensor) -> Tensor:
        """``(S, I)`` and ``(S, O)`` to ``(E, I, O)``."""


@dataclass(frozen=True)
class Even:
    """``C`` rows per expert, expert by expert: one batched product, nothing padded."""

    num_experts: int
    rows_each: int

    def grouped_matmul(self, rows: Tensor, stack: Tensor) -> Tensor:
        return torch.bmm(self._batched(rows), stack).flatten(0, 1)

    def grouped_outer(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.bmm(self._batched(left).transpose(1, 2), self._batched(right))

    def _batched(self, rows: Tensor) -> Tensor:
        return rows.view(self.num_experts, self.rows_each, rows.shape[1])


class Ragged:
    """Any number of rows per expert, expert by expert, nothing padded.

    One grouped kernel where dtype and widths allow, a product per expert elsewhere.

    Args:
        load: rows of each expert, ``(E,)`` int64.
    """

    def __init__(self, load: Tensor) -> None:
        self.load = load

    @cached_property
    def counts(self) -> list[int]:
        """The load on the host; the kernel does not need it there."""
        counts: list[int] = self.load.tolist()
        return counts

    @cached_property
    def ends(self) -> Tensor:
        """Where each expert's rows end, as the kernel wants it."""
        return self.load.cumsum(0).to(torch.int32)

    def grouped_matmul(self, rows: Tensor, stack: Tensor) -> Tensor:
        if _has_kernel(rows, stack.shape[1:]):
            return F.grouped_mm(rows, stack, offs=self.ends)
        out = rows.new_empty(rows.shape[0], stack.shape[2])
        for part, matrix, into in zip(
            torch.split(rows, self.counts),
            stack.unbind(),
            torch.split(out, self.counts),
            strict=True,
        ):
            torch.mm(part, matrix, out=into)
        return out

    def grouped_outer(self, left: Tensor, right: Tensor) -> Tensor:
        if _has_kernel(left, (left.shape[1], right.shape[1])):
            return F.grouped_mm(left.t(), right, offs=self.ends)
        out = left.new_empty(len(self.counts), left.shape[1], right.shape[1])
        for a, b, into in zip(
            torch.split(left, self.counts),
            torch.split(right, self.counts),
            out.unbind(),
            strict=True,
        ):
            torch.mm(a.t(), b, out=into)
        return out


@dataclass(frozen=True)
class PaddedPlusTail:
    """The first ``base`` rows of every expert in one batched product, the rest expert by expert.

    Where experts have few rows, a call per expert costs more than padding all of them to
    ``base`` rows; the few busy experts keep a tail of their own.

    Attributes:
        num_experts: ``E``.
        base: rows of each expert in the batched part, padding included; may be 0.
        tails: ``(expert, first row, end)`` of what does not fit there.
        size: rows of the buffer, ``S``.
    """

    num_experts: int
    base: int
    tails: Sequence[tuple[int, int, int]]
    size: int

    def grouped_matmul(self, rows: Tensor, stack: Tensor) -> Tensor:
        out = rows.new_empty(self.size, stack.shape[2])
        if self.base:
            torch.bmm(self._head(rows), stack, out=self._head(out))
        for expert, first, end in self.tails:
            torch.mm(rows[first:end], stack[expert], out=out[first:end])
        return out

    def grouped_outer(self, left: Tensor, right: Tensor) -> Tensor:
        if not self.base:
            return self._outer_by_tails(left, right)
        out = torch.bmm(self._head(left).transpose(1, 2), self._head(right))
        for expert, first, end in self.tails:
            out[expert].addmm_(left[first:end].t(), right[first:end])
        return out

    def _outer_by_tails(self, left: Tensor, right: Tensor) -> Tensor:
        out = left.new_empty(self.num_experts, left.shape[1], right.shape[1])
        idle = set(range(self.num_experts))
        for expert, first, end in self.tails:
            torch.mm(left[first:end].t(), right[first:end], out=out[expert])
            idle.remove(expert)
        for expert in idle:
            out[expert].zero_()
        return out

    def _head(self, rows: Tensor) -> Tensor:
        head = self.num_experts * self.base
        return rows[:head].view(self.num_experts, self.base, rows.shape[1])


def _has_kernel(rows: Tensor, widths: Sequence[int]) -> bool:
    """Whether ``F.grouped_mm`` takes these: no float64, strides in multiples of 16 bytes."""
    if rows.dtype == torch.float64 or not rows.numel():
        return False
    return all(width * rows.element_size() % 16 == 0 for width in widths)
