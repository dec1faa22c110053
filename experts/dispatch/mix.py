"""The engine: rows to their experts and back."""

from torch import Tensor

from routers import Routing, uncompiled, watched

from .._bank import Bank
from .combine import mix_ruled
from .merge import mix_merged


@uncompiled
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
    if routing.merge is not None:
        return mix_merged(x, routing, bank, mask)
    if routing.rule is not None:
        return mix_ruled(x, routing, bank, mask)
    run = Bank.mix if watched(bank) else type(bank).mix
    return run(bank, x, routing, mask).to(x.dtype)


def _through_slots(x: Tensor, routing: Routing, bank: Bank, mask: Tensor | None) -> Tensor:
    """Items to slots, slots through their experts, slots to items."""
    blend = routing.blend
    assert blend is not None
    groups, experts = blend.dispatch.shape[0], routing.num_experts
    if mask is None:
        out = bank(_swap(blend.gather(x), groups, experts), routing.load)
        return blend.scatter(_swap(out, experts, groups)).to(x.dtype)
    real = mask.unsqueeze(-1)
    slots = blend.gather(x.masked_fill(~real, 0.0))
    of_group = mask.view(groups, -1, mask.shape[1]).any(1)  # a slot has what any item has
    slot_mask = of_group.repeat_interleave(blend.dispatch.shape[2], 0)
    out = bank(_swap(slots, groups, experts), routing.load, _swap(slot_mask, groups, experts))
    out = blend.scatter(_swap(out, experts, groups))
    return out.to(x.dtype).masked_fill(~real, 0.0)


def _swap(slots: Tensor, outer: int, inner: int) -> Tensor:
    """Slots by group and then by expert, to slots by expert and then by group; or back."""
    return slots.view(outer, inner, -1, *slots.shape[1:]).transpose(0, 1).flatten(0, 2)
