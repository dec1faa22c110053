"""FLOPs measured while code runs."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..kernels.sparse_neurons import dots, sums

Shape = Sequence[int]


def _grouped_mm(a: Shape, b: Shape, *rest: Any, **options: Any) -> int:
    """Rows times stacked matrices, or rows times rows for the gradient of the matrices."""
    return 2 * a[0] * a[1] * b[-1]


def _attention(query: Shape, key: Shape, value: Shape, *rest: Any, **options: Any) -> int:
    """Scores and their weighted mean; all positions count, masked or not."""
    *batch, length, width = query
    pairs = length * key[-2]
    for axis in batch:
        pairs *= axis
    return 2 * pairs * (width + value[-1])


def _added_product(into: Shape, a: Shape, b: Shape, *rest: Any, **options: Any) -> int:
    """A product added in place."""
    return 2 * a[0] * a[1] * b[1]


def _dots(x: Shape, matrix: Shape, row: Shape, *rest: Any, **options: Any) -> int:
    """One dot product per pair."""
    return 2 * row[0] * x[1]


def _sums(matrix: Shape, weight: Shape, *rest: Any, **options: Any) -> int:
    """One scaled and added row per pair."""
    return 2 * weight[0] * matrix[1]


# torch counts these as 0
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
    """FLOPs of ``run()`` inside the forward passes of modules.

    Args:
        modules: modules of which none contains another.
        run: a function to call.

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
