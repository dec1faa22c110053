"""SwitchHead: few attention heads whose values and outputs are mixtures of experts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from routers import ConfigError, Items, OptionError, Router, Routing
from routers.plugins import arguments_of

from .._bank import Bank, stacked
from ..kernels.grouped import grouped_linear
from ..kernels.layouts import DispatchIndex
from .attend import Attend, attend_to_all
from .moe import LayerInput, MoE
from .multi_gate import Gates
from .routed_attention import RoutedAttention, check_assigns, settings_of
from .topology import GateBranch, GateTopology


class ValuesAndOutputs(Bank):
    """Maps from items to values, then as many maps from values to outputs.

    ``between(x V_e)`` are the rows of the second half of the experts, ``O_e`` their maps; by
    default they are the values.

    Args:
        width: ``P``, of values.

    >>> bank = ValuesAndOutputs(8, 6, width=4)
    >>> bank.flops((8,))[0], bank.parameters_per_expert()[0]
    (64, 32)
    """

    expert_parameters = ("weight",)

    def __init__(self, dim: int, num_experts: int, *, width: int) -> None:
        super().__init__(dim, num_experts)
        if width < 1:
            raise OptionError("width", width, "an integer >= 1")
        if num_experts % 2:
            raise OptionError("num_experts", num_experts, "an even integer")
        self.width, half = width, num_experts // 2
        maps = stacked(half, dim, width), stacked(half, width, dim).transpose(1, 2)
        self.weight = nn.Parameter(torch.cat(maps).detach())  # (E, D, P)

    def forward(
        self,
        rows: Tensor,
        load: Tensor,
        mask: Tensor | None = None,
        between: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> Tensor:
        value, output = self.weight.chunk(2)
        of_values, of_outputs = load.chunk(2)
        seen = between(grouped_linear(rows, value, of_values))
        return grouped_linear(seen, output.transpose(1, 2), of_outputs)

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        return (2 * self.dim * self.width,) * self.num_experts

    def take_experts(self, index: Sequence[int]) -> Self:
        raise ConfigError(
            "each router of SwitchHead has experts that no other may choose, so that experts are "
            "not selected, copied or removed; use MixtureOfAttentionHeads or common attention"
        )


class SwitchHead(RoutedAttention):
    """Attention heads with mixtures of values and outputs: ``y, routing = layer(x)``.

    In head ``h``, the value of item ``s`` is ``v_hs = sum_e w_hse x_s V_he``, with weights by a
    router of sources, and ``y_t = sum_h sum_e u_hte Att(x_t Q_h, X K_h, v_h) O_he``, with weights
    by a router of destinations. Queries and keys are those of few heads, without experts.

    The routing has the experts of all routers, ``V`` of each head and then ``O`` of each head, and
    ``gates`` their routings. A capacity holds for every expert.

    Source: Csordás et al. 2023, 2312.07987 (SwitchHead), whose formulas we know from secondary
    texts; its routers are as ``sigmoid`` with ``weighting="probability"`` and ``rate=0``.

    Args:
        sources: a router for the values of each head.
        destinations: a router for the outputs of each head; all routers are of one size.
        width: ``P``, of queries, keys and values; ``dim / heads`` if None.
        attend, settings: as in ``RoutedAttention``, without ``keep_outputs``.

    >>> import routers
    >>> options = {"k": 2, "weighting": "probability", "rate": 0.0}
    >>> build = lambda: [routers.build("sigmoid", 8, 5, **options) for _ in range(2)]
    >>> layer = SwitchHead(build(), build())
    >>> y, routing = layer(torch.randn(3, 6, 8))
    >>> y.shape, layer.bank.width, routing.num_experts, routing.load.sum().item()
    (torch.Size([3, 6, 8]), 4, 20, 144)
    """

    def __init__(
        self,
        sources: Sequence[Router],
        destinations: Sequence[Router],
        *,
        width: int | None = None,
        attend: Attend = attend_to_all,
        **settings: Any,
    ) -> None:
        routers, heads = [*sources, *destinations], len(sources)
        sizes = {(router.dim, router.num_experts) for router in routers}
        if len(sizes) != 1 or heads != len(destinations):
            has = ", ".join(f"dim={d} num_experts={e}" for d, e in sorted(sizes)) or "no size"
            raise ConfigError(
                f"{heads} sources and {len(destinations)} destinations of {has}: expected one of "
                "each per head, all of one size"
            )
        dim, experts = sizes.pop()
        total = experts * len(routers)
        own = (tuple(range(first, first + experts)) for first in range(0, total, experts))
        topology = GateTopology(1, (0,) * total, tuple(GateBranch(0, each) for each in own))
        bank = ValuesAndOutputs(dim, total, width=dim // heads if width is None else width)
        super().__init__(Gates(routers, topology), bank, attend=attend, **settings)
        self.heads = heads
        self.query_key = nn.Linear(dim, 2 * heads * bank.width, bias=False)

    @classmethod
    def like(cls, layer: MoE, *, heads: int, width: int, attend: Attend) -> Self:
        """Heads with new routers as that of another layer, and with its settings."""
        options = arguments_of(layer.router)
        routers = [type(layer.router)(**options) for _ in range(2 * heads)]
        sides = routers[:heads], routers[heads:]
        return cls(*sides, width=width, attend=attend, **settings_of(layer))

    def flops(self, routing: Routing, row_shape: tuple[int, ...]) -> int:
        """FLOPs of the layer without its routers: projections, and attention with all positions."""
        items, length = routing.num_items, routing.num_items // routing.groups
        attention = 4 * items * (self.bank.dim + length) * self.query_key.out_features // 2
        return super().flops(routing, row_shape) + attention

    def _dropped(self, routing: Routing) -> Routing:
        return _with_single_weights(super()._dropped(routing))

    def _mixed(
        self, streams: Sequence[LayerInput], routing: Routing
    ) -> tuple[Tensor, Tensor | None]:
        if self.keep_outputs:
            raise ConfigError(
                "keep_outputs: experts of values and of outputs differ in width, so SwitchHead has "
                "none to keep; leave out the losses that read outputs"
            )
        assert isinstance(self.router, Gates)
        for router, own in zip(self.router.each(), routing.gates, strict=False):
            check_assigns(router, own)
        rows, items = streams[0].rows, streams[0].items
        width = self.query_key.out_features // (2 * self.heads)
        grid = items.groups, items.group_length, 2, self.heads, width
        query, key = self.query_key(rows).view(grid).permute(2, 0, 3, 1, 4)
        mask = None if items.mask is None else items.grouped(items.mask)
        is_value = routing.expert < routing.num_experts // 2
        of_value, of_output = _part(routing, is_value), _part(routing, ~is_value)

        def attended(value: Tensor) -> Tensor:
            """From what experts of values return to the rows of experts of outputs."""
            mixed = self._by_head(of_value, items).combine(value, of_value.weight)
            seen = self.attend(query, key, mixed.view(query.shape), mask)
            return self._by_head(of_output, items).gather(seen.flatten(0, 2))

        given = DispatchIndex.by_expert(of_value).gather(rows)
        out = self.bank(given, routing.load, None, attended)
        y = DispatchIndex.by_expert(of_output).combine(out, of_output.weight)
        return y.to(rows.dtype), None

    def _by_head(self, routing: Routing, items: Items) -> DispatchIndex:
        """The index of assignments to places in a grid ``(groups, heads, length)``, flat."""
        head = routing.expert // (routing.num_experts // (2 * self.heads)) % self.heads
        length = items.group_length
        group, position = routing.item // length, routing.item % length
        place = (group * self.heads + head) * length + position
        spread = replace(routing, item=place, num_items=routing.num_items * self.heads)
        return DispatchIndex.by_expert(spread)


def _part(routing: Routing, keep: Tensor) -> Routing:
    """Some assignments of a routing, without its statistics."""
    item, expert, weight = routing.item[keep], routing.expert[keep], routing.weight[keep]
    return Routing(item, expert, weight, routing.num_items, routing.num_experts)


def _with_single_weights(routing: Routing) -> Routing:
    """A routing of gates that share no experts, so that an assignment has the weight of one."""
    before = None if routing.before is None else _with_single_weights(routing.before)
    return replace(routing, weight=routing.weight.sum(1), before=before)
