"""The engine: items to their experts and back, in every form of execution."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.func import functional_call

from routers import ConfigError, Routing
from routers.blocks import call_hooks, uncompiled
from routers.routing import Combine, Merge, Slots

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

    >>> import experts
    >>> from routers import Items
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> route = Routing.by_item(Items(x), torch.tensor([[0], [0]]), torch.tensor([[3.0], [0.5]]), 1)
    >>> mix(x, route, experts.build("null", 1, 1, kinds=["copy"])).tolist()
    [[3.0], [1.0]]
    """
    if x.shape[0] != routing.num_items:
        raise ValueError(f"x has {x.shape[0]} items, the routing {routing.num_items}")
    form = routing.execution
    if isinstance(form, Slots):
        return _through_slots(form, x, routing, bank, mask)
    if isinstance(form, Merge):
        return _merged(form, x, routing, bank, mask)
    if isinstance(form, Combine):
        return _combined(form, x, routing, bank, mask)
    if any(call_hooks(bank)) or "forward" in vars(bank):  # these wait for rows
        return Bank.mix(bank, x, routing, mask).to(x.dtype)
    return bank.mix(x, routing, mask).to(x.dtype)


def execution_flops(routing: Routing, bank: Bank, row_shape: Sequence[int]) -> int:
    """FLOPs of a form of execution besides the experts' own; weighted sums count 0."""
    form = routing.execution
    if isinstance(form, Slots):  # two matrix products, items to slots and slots to items
        return 2 * (form.dispatch.numel() + form.combine.numel()) * prod(row_shape)
    if isinstance(form, Merge):
        return 2 * form.weight.numel() * bank.parameters_per_expert()[0]
    if isinstance(form, Combine):
        tasks = routing.weight.shape[1] if routing.weight.dim() > 1 else 1
        sizes = routing.num_items, routing.num_experts, prod(row_shape)
        return tasks * form.combiner.flops(*sizes)
    return 0


def _through_slots(
    slots: Slots, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    groups, experts = slots.dispatch.shape[0], routing.num_experts
    if mask is None:
        out = bank(_swap(to_slots(x, slots), groups, experts), routing.load)
        return to_items(_swap(out, experts, groups), slots).to(x.dtype)
    real = mask.unsqueeze(-1)
    rows = to_slots(x.masked_fill(~real, 0.0), slots)
    of_group = mask.view(groups, -1, mask.shape[1]).any(1)  # the positions that any item has
    row_mask = of_group.repeat_interleave(slots.dispatch.shape[2], 0)
    out = bank(_swap(rows, groups, experts), routing.load, _swap(row_mask, groups, experts))
    out = to_items(_swap(out, experts, groups), slots)
    return out.to(x.dtype).masked_fill(~real, 0.0)


def to_slots(x: Tensor, slots: Slots) -> Tensor:
    """Items ``(N, ...)`` to slots ``(G * S, ...)``.

    >>> half = torch.full((1, 2, 1), 0.5)
    >>> to_slots(torch.tensor([[2.0], [4.0]]), Slots(half, torch.ones(1, 2, 1))).tolist()
    [[3.0]]
    """
    groups, length, _ = slots.dispatch.shape
    flat = x.reshape(groups, length, prod(x.shape[1:]))
    rows = slots.dispatch.to(x.dtype).transpose(1, 2) @ flat
    return rows.reshape(-1, *x.shape[1:])


def to_items(y: Tensor, slots: Slots) -> Tensor:
    """Slots ``(G * S, ...)`` to items ``(N, ...)``, or ``(T, N, ...)`` for ``T`` tasks."""
    *tasks, groups, length, count = slots.combine.shape
    items = slots.combine.to(y.dtype) @ y.reshape(groups, count, prod(y.shape[1:]))
    return items.reshape(*tasks, groups * length, *y.shape[1:])


def _swap(rows: Tensor, outer: int, inner: int) -> Tensor:
    """Slots by group and then by expert, to slots by expert and then by group; or back."""
    return rows.view(outer, inner, -1, *rows.shape[1:]).transpose(0, 1).flatten(0, 2)


def check_merges(bank: Bank) -> None:
    """Raise ``ConfigError`` unless the bank's experts differ only in stacked parameters."""
    if not bank.expert_parameters:
        raise ConfigError(
            f"expert: {type(bank).__name__} has experts of several forms, whose parameters have no "
            "mean, and router=merged averages parameters; choose experts of one form such as mlp"
        )


def _merged(merge: Merge, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None) -> Tensor:
    """``y_i = FFN(x_i; sum_e w_ge theta_e)`` for the items ``i`` of each part ``g``.

    The bank works as if it had one expert per part, whose parameters are the means.
    """
    check_merges(bank)
    if merge.weight.dim() == 2:
        return _by_means(x, merge.weight, routing.mask, bank, mask)
    return torch.stack([_by_means(x, each, routing.mask, bank, mask) for each in merge.weight])


def _by_means(
    x: Tensor, weight: Tensor, real: Tensor | None, bank: Bank, mask: Tensor | None
) -> Tensor:
    if not len(x):
        return x.clone()
    means = {}
    for name in bank.expert_parameters:
        stack = bank.get_parameter(name)
        mean = weight.to(stack.dtype) @ stack.flatten(1)
        means[name] = mean.view(-1, *stack.shape[1:])
    if real is None:
        load = torch.full(weight.shape[:1], len(x) // len(weight), device=x.device)
        out: Tensor = functional_call(bank, means, (x, load, mask))
        return out.to(x.dtype)
    row = real.nonzero().squeeze(1)
    load = real.view(len(weight), -1).sum(1)
    row_mask = None if mask is None else mask.index_select(0, row)
    out = functional_call(bank, means, (x.index_select(0, row), load, row_mask))
    return torch.zeros_like(x).index_copy(0, row, out.to(x.dtype))


def _combined(
    execution: Combine, x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None
) -> Tensor:
    index = DispatchIndex.by_expert(routing)
    row_mask = None if mask is None else mask.index_select(0, index.source)
    out = bank(index.gather(x), routing.load, row_mask).flatten(1)
    out = out.to(torch.promote_types(out.dtype, torch.float32))
    n, e, features = routing.num_items, routing.num_experts, x[:1].numel() or out.shape[1]
    pair = routing.item * e + routing.expert
    outputs = out.new_zeros(n * e, features)
    outputs = outputs.index_copy(0, pair.index_select(0, routing.order), out).view(n, e, features)
    weight = routing.weight.unsqueeze(-1).flatten(1).to(out.dtype)
    grid = weight.new_zeros(n * e, weight.shape[1]).index_add(0, pair, weight)
    per_task = grid.view(n, e, weight.shape[1]).unbind(-1)
    with torch.autocast(out.device.type, enabled=False):
        sums = [execution.combiner.combine(outputs, each) for each in per_task]
    y = sums[0] if routing.weight.dim() == 1 else torch.stack(sums)
    return y.to(x.dtype).view(*y.shape[:-2], *x.shape)
