"""FLOPs measured while code runs, with or without the experts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .._bank import Bank
from ..kernels.sparse_neurons import dots, sums
from ..layers.moe import MoE

Shape = Sequence[int]


def _attention(query: Shape, key: Shape, value: Shape, *rest: Any, **options: Any) -> int:
    """Scores and their weighted mean; all positions count, masked or not."""
    *batch, length, width = query
    return 2 * prod(batch) * length * key[-2] * (width + value[-1])


#: Operations that torch counts as 0: FLOPs from the shapes of their arguments.
_UNCOUNTED: dict[Any, Callable[..., int]] = {
    # rows times stacked matrices, or rows times rows for the gradient of the matrices
    torch.ops.aten._grouped_mm: lambda a, b, *_, **__: 2 * a[0] * a[1] * b[-1],
    # a product added in place
    torch.ops.aten.addmm_: lambda into, a, b, *_, **__: 2 * a[0] * a[1] * b[1],
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    # a dot product, and a scaled and added row, per pair
    dots._opoverload.overloadpacket: lambda x, matrix, row, *_, **__: 2 * row[0] * x[1],
    sums._opoverload.overloadpacket: lambda matrix, weight, *_, **__: 2 * weight[0] * matrix[1],
}


def count_flops(run: Callable[[], object]) -> int:
    """FLOPs of ``run()``: matrix products, convolutions and attention; a multiply-add is 2.

    >>> count_flops(lambda: torch.ones(2, 3) @ torch.ones(3, 5))
    60
    """
    with FlopCounterMode(display=False, custom_mapping=_UNCOUNTED) as counter:
        run()
    return int(counter.get_total_flops())


def count_flops_of(modules: Iterable[nn.Module], run: Callable[[], object]) -> int:
    """FLOPs of ``run()`` inside the forward passes of modules, of which none contains another.

    >>> one, other = nn.Linear(3, 5), nn.Linear(5, 7)
    >>> count_flops_of([one], lambda: other(one(torch.ones(2, 3))))
    60
    """
    found = []
    counting = ExitStack()

    def begin(*_: object) -> None:
        counter = counting.enter_context(FlopCounterMode(display=False, custom_mapping=_UNCOUNTED))
        counting.callback(lambda: found.append(int(counter.get_total_flops())))

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_pre_hook(begin).remove)
            hooks.callback(module.register_forward_hook(lambda *_: counting.close()).remove)
        run()
    return sum(found)


class NoOpBank(Bank):
    """A replacement for a bank that returns its rows and records their shape, ``row_shape``.

    Where outputs have another width than rows, they are zeros.
    """

    def __init__(self, bank: Bank) -> None:
        super().__init__(bank.dim, bank.num_experts)
        self.bank = bank
        self.row_axes = bank.row_axes
        self.out_dim = bank.out_dim
        # merging is not part of the experts
        self.expert_parameters = tuple(f"bank.{name}" for name in bank.expert_parameters)
        self._row_shapes: list[tuple[int, ...]] = []  # also of shallow copies, as merging makes

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of a row in the last forward pass; ``()`` before it."""
        return self._row_shapes[-1] if self._row_shapes else ()

    def forward(
        self,
        rows: Tensor,
        load: Tensor,
        mask: Tensor | None = None,
        between: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        self._row_shapes[:] = [tuple(rows.shape[1:])]
        if between is not None:  # of attention heads, whose attention is not part of the experts
            seen = between(rows.new_zeros(len(rows), cast(int, self.bank.width)))
            return rows.new_zeros(len(seen), self.out_dim)
        if self.out_dim == self.dim:
            return rows
        return rows.new_zeros(*rows.shape[:-1], self.out_dim)

    def pool(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.bank.pool(x, mask)

    def projections(self) -> Tensor | None:
        return self.bank.projections()

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return (0,) * self.num_experts


@contextmanager
def skip_experts(layers: list[MoE]) -> Iterator[list[NoOpBank]]:
    """Context manager: the layers' experts are no-ops, and shared experts are removed.

    Experts may compute padding if that is faster, so their FLOPs follow from their load by
    ``MoE.expert_flops``; all other FLOPs can be counted inside this context.

    >>> import experts, routers, torch
    >>> layer = MoE(routers.build("topk", 8, 4, k=2), experts.build("mlp", 8, 4))
    >>> with skip_experts([layer]):
    ...     experts.count_flops(lambda: layer(torch.ones(5, 8)))  # the router's 5 * 8 * 4 * 2
    320
    """
    originals = [(layer.bank, layer.shared) for layer in layers]
    no_ops = [NoOpBank(bank) for bank, _ in originals]
    try:
        for layer, no_op in zip(layers, no_ops, strict=True):
            layer.bank, layer.shared = no_op, None
        yield no_ops
    finally:
        for layer, (bank, shared) in zip(layers, originals, strict=True):
            layer.bank, layer.shared = bank, shared
