"""The layer people build with: a router in front of a bank."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from routers import (
    ConfigError,
    Items,
    OptionError,
    Router,
    Routing,
    check_capacity_options,
    uncompiled,
)

from .._bank import Bank
from ..dispatch.merge import check_merges
from ..dispatch.mix import mix
from .inputs import inputs_of


class MoE(nn.Module):
    """A mixture of experts: ``y, routing = MoE(router, bank)(x)``.

    Nothing hides in the module's state: losses, metrics and FLOPs are read from the routing.

    Args:
        router: who decides.
        bank: who works. Its rows say what an item is: a token, or a whole sample.
        shared: a bank whose every expert works on every real item with weight 1.
        capacity: most assignments an expert takes of a group, relative to an even load; None
            for no limit. See ``Routing.limit``.
        drop: who stays where an expert is full, one of ``routers.DROP_ORDERS``.
        renormalize: scale the weights an item has left back to their sum before drops.
        rounding: how a capacity becomes a whole number, one of ``routers.ROUNDINGS``.
        expert_dropout: probability of leaving an expert out of a whole training batch. What
            an item has left is scaled back to its sum; an item that loses all its experts
            gets 0 from the layer. These assignments count as dropped in
            ``Routing.requested``. Blends and merged experts have none to leave out. Source:
            Zhao et al. 2019, "Recommending what video to watch next" (RecSys,
            doi 10.1145/3298689.3346997).

    Raises:
        ConfigError: where router and bank do not fit, or a setting is out of range.

    >>> import experts, routers
    >>> layer = MoE(routers.build("topk", 8, 4, k=2), experts.build("mlp", 8, 4))
    >>> y, routing = layer(torch.randn(2, 5, 8))
    >>> y.shape, routing.load.sum().item()
    (torch.Size([2, 5, 8]), 20)
    """

    def __init__(
        self,
        router: Router,
        bank: Bank,
        *,
        shared: Bank | None = None,
        capacity: float | None = None,
        drop: str = "position",
        renormalize: bool = False,
        rounding: str = "ceil",
        expert_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_fit("router", router, bank, ("dim", "num_experts"))
        if router.traits.merges:
            check_merges(bank)
        if shared is not None:
            _check_fit("shared", shared, bank, ("dim", "row_dims"))
        check_capacity_options(1.0 if capacity is None else capacity, drop, rounding)
        if not 0 <= expert_dropout < 1:
            raise OptionError("expert_dropout", expert_dropout, "a number from 0 to below 1")
        self.router = router
        self.bank = bank
        self.shared = shared
        self.capacity = capacity
        self.drop = drop
        self.renormalize = renormalize
        self.rounding = rounding
        self.expert_dropout = expert_dropout

    @property
    def num_gates(self) -> int:
        """How many outputs the layer has, each with a gate of its own."""
        return 1

    @uncompiled
    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        ids: Tensor | None = None,
        task: Tensor | None = None,
    ) -> tuple[Tensor, Routing]:
        """Route, work and combine.

        Args:
            x: tokens ``(..., D)``, whose first axis numbers the groups where there are three
                or more; or whole samples ``(N, L, D)`` or ``(N, D, H, W)``, all in one group,
                if the bank's rows are such.
            mask: bool, False at padding: ``(...)`` for tokens; ``(N,)`` for samples, or
                ``(N, L)`` for positions of sequences.
            ids: integers naming each item's content, ``(...)`` or ``(N,)``.
            task: integers naming each item's task, the same, or one per group.

        Returns:
            ``y`` with the shape and dtype of ``x`` (``(T, *x.shape)`` for a router with
            weights for ``T`` tasks), 0 at padding; and the routing that made it.

        Raises:
            ValueError: naming the shapes where they do not fit.
        """
        items, rows, inner = inputs_of(self.bank, x, mask, ids, task)
        routing = self._limited(self.router(items))
        y = mix(rows, routing, self.bank, inner)
        if self.shared is not None:
            y = y + mix(rows, _everyone(items, self.shared), self.shared, inner)
        return y.reshape(*y.shape[: y.dim() - rows.dim()], *x.shape), routing

    def flops(self, routing: Routing, row_shape: tuple[int, ...]) -> int:
        """FLOPs of all that follows the router.

        Experts, shared ones, a blend's averages, merging, and what a rule does with outputs.
        """
        load, items = routing.load.tolist(), int(routing.num_real)
        around = _blend_flops(routing, row_shape) + _rule_flops(routing, row_shape)
        if routing.merge is not None:
            around += 2 * routing.merge.numel() * self.bank.parameters_per_expert()[0]
        return self.expert_flops(load, items, row_shape) + around

    def expert_flops(self, load: Sequence[int], items: int, row_shape: Sequence[int]) -> int:
        """FLOPs of the experts, shared ones included: rows times price.

        Args:
            load: ``(E,)`` rows of each expert.
            items: how many real items there are, which shared experts all work on.
            row_shape: of one row.

        >>> import experts, routers
        >>> layer = MoE(routers.build("topk", 4, 2), experts.build("mlp", 4, 2, hidden=8))
        >>> layer.expert_flops([5, 1], 3, (4,))  # 6 rows of 128
        768
        """
        prices = self.bank.flops(row_shape)
        total = sum(rows * price for rows, price in zip(load, prices, strict=True))
        return total if self.shared is None else total + items * sum(self.shared.flops(row_shape))

    def _limited(self, routing: Routing) -> Routing:
        if self.capacity is not None:
            routing = routing.limit(
                self.capacity,
                self.drop,
                renormalize=self.renormalize,
                rounding=self.rounding,
                generator=torch.default_generator if self.training else None,
            )
        if self.training and self.expert_dropout and routing.supports_dropping:
            routing = _leave_out(routing, self.expert_dropout)
        return routing


def _blend_flops(routing: Routing, row_shape: tuple[int, ...]) -> int:
    """Two matrix products, items to slots and slots to items."""
    if routing.blend is None:
        return 0
    return 2 * (routing.blend.dispatch.numel() + routing.blend.combine.numel()) * prod(row_shape)


def _rule_flops(routing: Routing, row_shape: tuple[int, ...]) -> int:
    if routing.rule is None:
        return 0
    tasks = routing.weight.shape[1] if routing.weight.dim() > 1 else 1
    return tasks * routing.rule.flops(routing.num_items, routing.num_experts, prod(row_shape))


def _everyone(items: Items, bank: Bank) -> Routing:
    """Every real item to every expert of ``bank``, with weight 1."""
    return Routing.by_mask(items, items.x.new_ones(len(items), bank.num_experts))


def _leave_out(routing: Routing, rate: float) -> Routing:
    """The routing without experts drawn at ``rate``."""
    stays = torch.rand(routing.num_experts, device=routing.expert.device) >= rate
    return routing.drop(stays[routing.expert], renormalize=True)


def _check_fit(name: str, part: Router | Bank, bank: Bank, fields: tuple[str, ...]) -> None:
    for field in fields:
        if getattr(part, field) != getattr(bank, field):
            raise ConfigError(
                f"{name}.{field}={getattr(part, field)} but the bank's is {getattr(bank, field)}; "
                f"build {name} and bank for the same {field}"
            )
