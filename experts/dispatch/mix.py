"""The engine: items to their experts and back."""

from collections.abc import Sequence
from functools import singledispatch

from torch import Tensor

from routers import ConfigError, Routing
from routers.blocks import call_hooks, uncompiled

from .._bank import Bank
from ..kernels.layouts import DispatchIndex


@uncompiled
def mix(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None = None) -> Tensor:
    """Execute a routing: run each expert on its items and combine their outputs.

    Args:
        x: ``(N, ...)``, items with rows as ``bank`` takes them.
        routing: the assignments of these ``N`` items.
        bank: the experts.
        mask: ``(N, L)`` bool, False at padding inside sequences; None if all is real.

    Returns:
        ``(N, ...)`` in the dtype of ``x``, or ``(T, N, ...)`` if the routing's weights are for
        ``T`` tasks; the experts run once for all of them. Items without an expert get 0.

    Raises:
        ValueError: if ``x`` does not have the routing's number of items.

    >>> import experts, torch
    >>> from routers import Items
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> route = Routing.by_item(Items(x), torch.tensor([[0], [0]]), torch.tensor([[3.0], [0.5]]), 1)
    >>> mix(x, route, experts.build("null", 1, 1, kinds=["copy"])).tolist()
    [[3.0], [1.0]]
    """
    if x.shape[0] != routing.num_items:
        raise ValueError(f"x has {x.shape[0]} items, the routing {routing.num_items}")
    return execute(routing.execution, x, routing, bank, mask)


@singledispatch
def execute(
    execution: object, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    """Execute a routing in the form ``execution``; without one, by weighted sums."""
    if any(call_hooks(bank)) or "forward" in vars(bank):  # these wait for rows
        return Bank.mix(bank, x, routing, mask).to(x.dtype)
    return bank.mix(x, routing, mask).to(x.dtype)


@uncompiled
def mix_with_outputs(
    x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The result of ``mix``, and what the expert of each assignment returned, ``(A, ...)``.

    The outputs have the order of ``routing.expert``. ``ConfigError`` for a form of execution
    without ``combine_rows``.

    >>> import experts, torch
    >>> from routers import Items
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> route = Routing.by_item(Items(x), torch.tensor([[1], [0]]), torch.tensor([[3.0], [0.5]]), 2)
    >>> bank = experts.build("null", 1, 2, kinds=["copy", "zero"])
    >>> [each.tolist() for each in mix_with_outputs(x, route, bank)]
    [[[0.0], [1.0]], [[0.0], [2.0]]]
    """
    combine = combine_rows.dispatch(type(routing.execution))
    if combine is combine_rows.dispatch(object):
        form = type(routing.execution).__name__.lower()
        raise ConfigError(
            f"keep_outputs: the routing is through {form}, in which an item's output is more than "
            "those of its experts; use a router that assigns items to experts, such as topk"
        )
    index = DispatchIndex.by_expert(routing)
    out = bank.run(x, routing, index, mask)
    y = combine(routing.execution, out, x, routing, index)
    return y.to(x.dtype), out.index_select(0, routing.order.argsort())


@singledispatch
def combine_rows(
    execution: object, out: Tensor, x: Tensor, routing: Routing, index: DispatchIndex
) -> Tensor:
    """Combine ``out`` ``(A, ...)``, sorted by expert, for items, if the form of execution can."""
    raise NotImplementedError


@combine_rows.register
def _weighted_sums(
    execution: None, out: Tensor, x: Tensor, routing: Routing, index: DispatchIndex
) -> Tensor:
    return index.combine(out, routing.weight)


@singledispatch
def execution_flops(
    execution: object, routing: Routing, bank: Bank, row_shape: Sequence[int]
) -> int:
    """FLOPs of a form of execution besides the experts' own; weighted sums count 0."""
    return 0
