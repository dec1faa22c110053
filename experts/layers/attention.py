"""A mixture of attention heads: each item is given the heads that attend for it."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from routers import OptionError, Router, Routing

from .._bank import Bank, stacked
from ..kernels.grouped import grouped_linear
from ..kernels.layouts import DispatchIndex
from .attend import Attend, attend_to_all
from .moe import LayerInput, MoE
from .routed_attention import RoutedAttention, check_assigns, settings_of


class AttentionHeads(Bank):
    """The query and output projections of attention heads, one of each per expert.

    ``O_e between(x Q_e)``, where ``between`` is attention over keys that experts share; by default
    it returns the queries.

    Args:
        width: ``P``, of queries.

    >>> heads = AttentionHeads(8, 3, width=4)
    >>> heads.flops((8,)), heads.parameters_per_expert()
    ((128, 128, 128), (64, 64, 64))
    """

    expert_parameters = ("query", "output")

    def __init__(self, dim: int, num_experts: int, *, width: int) -> None:
        super().__init__(dim, num_experts)
        if width < 1:
            raise OptionError("width", width, "an integer >= 1")
        self.width = width
        self.query = stacked(num_experts, dim, width)
        self.output = stacked(num_experts, width, dim)

    def forward(
        self,
        rows: Tensor,
        load: Tensor,
        mask: Tensor | None = None,
        between: Callable[[Tensor], Tensor] = lambda query: query,
    ) -> Tensor:
        return grouped_linear(between(grouped_linear(rows, self.query, load)), self.output, load)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return (4 * self.dim * self.width,) * self.num_experts


class MixtureOfAttentionHeads(RoutedAttention):
    """Attention in which a router picks the heads of each item: ``y, routing = layer(x)``.

    ``y_t = sum_e w_te Att(x_t Q_e, X K, X V) O_e``: an expert has the projections of its queries
    and outputs, and all share the keys and values. Groups are sequences: an item attends within
    its own. Any router that assigns items to experts serves; ``k`` heads work for an item.

    Source: Zhang et al. 2022, 2210.05144, section 3 (mixture of attention heads).

    Args:
        router: assigns items to heads.
        width: ``P``, of queries, keys and values; ``dim / k`` of the router if None, so that the
            heads of an item are together as wide as the item.
        attend: who attends to whom: ``attend_to_all``, ``attend_to_past``, or another function
            such as ``partial(rotary, attend_to_past)``. A causal one needs a causal router.
        settings: as in ``RoutedAttention``.

    >>> import routers
    >>> layer = MixtureOfAttentionHeads(routers.build("topk", 8, 6, k=2))
    >>> y, routing = layer(torch.randn(3, 5, 8))
    >>> y.shape, layer.bank.width, routing.load.sum().item()
    (torch.Size([3, 5, 8]), 4, 30)
    """

    def __init__(
        self,
        router: Router,
        *,
        width: int | None = None,
        attend: Attend = attend_to_all,
        **settings: Any,
    ) -> None:
        if width is None:
            width = router.dim // max(int(getattr(router, "k", 1)), 1)
        bank = AttentionHeads(router.dim, router.num_experts, width=width)
        super().__init__(router, bank, attend=attend, **settings)
        self.key_value = nn.Linear(router.dim, 2 * width, bias=False)

    @classmethod
    def like(cls, layer: MoE, *, width: int, attend: Attend) -> Self:
        """Heads with the router of another layer and its settings; its experts play no part."""
        return cls(layer.router, width=width, attend=attend, **settings_of(layer))

    def flops(self, routing: Routing, row_shape: tuple[int, ...]) -> int:
        """FLOPs of the layer without its router: projections, and attention with all positions."""
        items, length = routing.num_items, routing.num_items // routing.groups
        width = self.key_value.out_features // 2
        shared = 4 * items * self.bank.dim * width
        most = _most_per_item(routing)
        return super().flops(routing, row_shape) + shared + 4 * items * most * length * width

    def _mixed(
        self, streams: Sequence[LayerInput], routing: Routing
    ) -> tuple[Tensor, Tensor | None]:
        rows, items = streams[0].rows, streams[0].items
        check_assigns(self.router, routing)
        groups, length, most = items.groups, items.group_length, _most_per_item(routing)
        key, value = self.key_value(rows).view(groups, 1, length, -1).chunk(2, -1)
        mask = None if items.mask is None else items.grouped(items.mask)
        place = _places(routing, most, length).index_select(0, routing.order)

        def attended(query: Tensor) -> Tensor:
            """Of queries ``(A, P)``, each in another place among those of its item."""
            grid = query.new_zeros(groups * most * length, query.shape[1])
            grid = grid.index_copy(0, place, query).view(groups, most, length, -1)
            seen = self.attend(grid, key.expand_as(grid), value.expand_as(grid), mask)
            return seen.reshape(-1, query.shape[1]).index_select(0, place)

        index = DispatchIndex.by_expert(routing)
        out = self.bank(index.gather(rows), routing.load, None, attended)
        y = index.combine(out, routing.weight).to(rows.dtype)
        return y, out.index_select(0, routing.order.argsort()) if self.keep_outputs else None


def _most_per_item(routing: Routing) -> int:
    """The largest number of heads of an item, at least 1."""
    if routing.fan_out:
        return routing.fan_out
    if not routing.num_assignments:
        return 1
    return int(torch.bincount(routing.item, minlength=1).max())


def _places(routing: Routing, most: int, length: int) -> Tensor:
    """Places of the assignments in a grid ``(groups, most, length)``, flat."""
    order, start = routing.item_order
    number = torch.arange(routing.num_assignments, device=routing.item.device)
    if order is not None:
        number = torch.empty_like(order).index_copy_(0, order, number)
    rank = number - start[routing.item]
    group, position = routing.item // length, routing.item % length
    return (group * most + rank) * length + position
