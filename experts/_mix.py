"""The engine: rows to their experts and back."""

from dataclasses import replace

from torch import Tensor

from routers import Routing

from ._bank import Bank
from ._moves import Moves


def mix(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None = None) -> Tensor:
    """Execute a routing: each expert works on its items, each item takes its weighted sum.

    Args:
        x: ``(N, ...)``, items with rows as ``bank`` takes them.
        routing: who goes where; of these ``N`` items.
        bank: the experts.
        mask: ``(N, L)`` bool, False at padding inside sequences; None where all is real.

    Returns:
        ``(N, ...)`` in the dtype of ``x``, or ``(T, N, ...)`` where the routing's weights are
        for ``T`` tasks; the experts run once for all of them. Items without an expert get 0.

    Raises:
        ValueError: where ``x`` does not have the routing's number of items.

    >>> import experts, torch
    >>> from routers import Items
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> route = Routing.by_item(Items(x), torch.tensor([[0], [0]]), torch.tensor([[3.0], [0.5]]), 1)
    >>> mix(x, route, experts.build("null", 1, 1, kinds=["copy"])).tolist()
    [[3.0], [1.0]]
    """
    if x.shape[0] != routing.num_items:
        raise ValueError(f"x has {x.shape[0]} items, the routing {routing.num_items}")
    if routing.blend is not None:
        return _through_slots(x, routing, bank, mask)
    moves = Moves.of(routing)
    row_mask = None if mask is None else mask.index_select(0, moves.item)
    out = bank(moves.gather(x), routing.load, row_mask)
    return moves.combine(out.to(x.dtype))


def _through_slots(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None) -> Tensor:
    """Items to slots, slots through their experts, slots to items."""
    blend = routing.blend
    assert blend is not None
    among_slots = replace(routing, blend=None, mask=None, num_items=blend.num_slots)
    if mask is None:
        return blend.scatter(mix(blend.gather(x), among_slots, bank)).to(x.dtype)
    real = mask.unsqueeze(-1)
    slots = blend.gather(x.masked_fill(~real, 0.0))
    groups = blend.dispatch.shape[0]
    of_group = mask.view(groups, -1, mask.shape[1]).any(1)  # a slot has what any item has
    slot_mask = of_group.repeat_interleave(blend.dispatch.shape[2], 0)
    out = blend.scatter(mix(slots, among_slots, bank, slot_mask))
    return out.to(x.dtype).masked_fill(~real, 0.0)
