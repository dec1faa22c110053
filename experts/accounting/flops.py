"""Counting the FLOPs that really ran."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..kernels.sparse_neurons import dots, sums

Shape = Sequence[int]


def _grouped_mm(a: Shape, b: Shape, *rest: Any, **options: Any) -> int:
    """Rows by stacked matrices, or (for the weights' gradient) rows by rows."""
    return 2 * a[0] * a[1] * b[-1]


def _attention(query: Shape, key: Shape, value: Shape, *rest: Any, **options: Any) -> int:
    """Scores and the mean they weigh; all positions count, seen or masked."""
    *batch, length, width = query
    pairs = length * key[-2]
    for axis in batch:
        pairs *= axis
    return 2 * pairs * (width + value[-1])


def _added_product(into: Shape, a: Shape, b: Shape, *rest: Any, **options: Any) -> int:
    """A product that is added to what is there."""
    return 2 * a[0] * a[1] * b[1]


def _dots(x: Shape, table: Shape, row: Shape, *rest: Any, **options: Any) -> int:
    """A dot product for each pair."""
    return 2 * row[0] * x[1]


def _sums(table: Shape, weight: Shape, *rest: Any, **options: Any) -> int:
    """A row, scaled and added, for each pair."""
    return 2 * weight[0] * table[1]


# torch counts these as nothing
_UNCOUNTED = {
    torch.ops.aten._grouped_mm: _grouped_mm,
    torch.ops.aten.addmm_: _added_product,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    dots._opoverload.overloadpacket: _dots,
    sums._opoverload.overloadpacket: _sums,
}


def count_flops(run: Callable[[], object]) -> int:
    """FLOPs of ``run()``: matrix products, convolutions and attention; a multiply-add is 2.

    >>> count_flops(lambda: torch.ones(2, 3) @ torch.ones(3, 5))
    60
    """
    with _counter() as counter:
        run()
    return int(counter.get_total_flops())


def count_flops_of(modules: Iterable[nn.Module], run: Callable[[], object]) -> int:
    """Those of the FLOPs of ``run()`` that are spent while a module works.

    Args:
        modules: none inside another.
        run: what to run.

    >>> one, other = nn.Linear(3, 5), nn.Linear(5, 7)
    >>> count_flops_of([one], lambda: other(one(torch.ones(2, 3))))
    60
    """
    found = []
    counting = ExitStack()

    def begin(*_: object) -> None:
        counter = counting.enter_context(_counter())
        counting.callback(lambda: found.append(int(counter.get_total_flops())))

    def end(*_: object) -> None:
        counting.close()

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_pre_hook(begin).remove)
            hooks.callback(module.register_forward_hook(end).remove)
        run()
    return sum(found)


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
