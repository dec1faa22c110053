"""The layer to build models with: a router in front of a bank."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from routers import ConfigError, Items, OptionError, Router, Routing
from routers.blocks import uncompiled
from routers.plugins import option_errors_under
from routers.routing import check_capacity_options, check_skip

from .._bank import Bank
from ..dispatch import check_merges, execution_flops, mix, mix_with_outputs
from .latent import Latent, projections_of
from .never_adapted import NeverAdapted

#: Arguments of a layer that are checked wherever they are set.
_CHECKED = {
    *("router", "bank", "shared", "latent"),
    *("capacity", "drop", "rounding", "expert_dropout", "skip"),
}


class MoE(nn.Module):
    """A mixture of experts: ``y, routing = MoE(router, bank)(x)``.

    The module holds no state of a forward pass: losses, metrics and FLOPs are computed from the
    routing. An argument that is set later is checked as in the constructor.

    Args:
        router: assigns items to experts.
        bank: the experts. Its rows define an item: a token, or a whole sample.
        shared: a bank whose every expert works on every real item with weight 1.
        latent: maps between the width of the layer and that of ``bank``; router and shared experts
            have the layer's. None if all have one width.
        capacity: the most assignments an expert accepts from a group, relative to an even load;
            None for no limit. See ``Routing.limit``.
        drop: which assignments a full expert keeps, one of ``routers.routing.DROP_ORDERS``.
        renormalize: scale the remaining weights of an item back to their sum before drops.
        rounding: how a capacity becomes an integer, one of ``routers.routing.ROUNDINGS``.
        expert_dropout: probability of leaving an expert out of a whole training batch. The
            remaining weights of an item are scaled back to their sum; an item that loses all its
            experts gets 0 from the layer. These assignments count as dropped in
            ``Routing.requested_load``. Ignored for slots and merged experts. Source:
            Zhao et al. 2019, "Recommending what video to watch next" (RecSys,
            doi 10.1145/3298689.3346997).
        keep_outputs: give the routing the ``outputs`` of the experts, which some losses read. This
            takes the way through rows, slower than ``Bank.mix``.
        skip: in evaluation, assignments with little weight that are not computed, by rule, after
            those that exceed a capacity: ``{"weight": 0.2}`` or ``{"mass": 0.9}``; None for no
            such rule. See ``Routing.skip``.

    Raises:
        ConfigError: if router and bank do not fit, or an option is out of range.

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
        latent: Latent | None = None,
        capacity: float | None = None,
        drop: str = "position",
        renormalize: bool = False,
        rounding: str = "ceil",
        expert_dropout: float = 0.0,
        skip: Mapping[str, float] | None = None,
        keep_outputs: bool = False,
    ) -> None:
        super().__init__()
        self.latent = latent  # before the bank, which is checked against it
        self.router = router
        self.bank = bank
        self.shared = shared
        self.capacity = capacity
        self.drop = drop
        self.renormalize = renormalize
        self.rounding = rounding
        self.expert_dropout = expert_dropout
        self.skip = skip
        self.keep_outputs = keep_outputs
        #: Applied to every routing after drops, by ``experts.intervene`` and ``experts.replay``.
        self.changes: list[Callable[[Items, Routing], Routing]] = []
        self._never_adapted = NeverAdapted()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CHECKED:
            _check(**{**vars(self), **self._modules, name: value})
        super().__setattr__(name, value)

    @property
    def dim(self) -> int:
        """``D``, the width of items, for the router and shared experts."""
        return self.bank.dim if self.latent is None else self.latent.dim

    @property
    def input_dim(self) -> int:
        """The width of inputs and outputs of the layer: ``D``, or parts of ``D`` together."""
        return self.dim

    @property
    def each_router(self) -> list[Router]:
        """The modules that route items: the router, or one for each round."""
        return [self.router]

    @property
    def num_streams(self) -> int:
        """The number of inputs of an item, which gates and experts share out."""
        return 1

    @property
    def num_gates(self) -> int:
        """The number of outputs, each with its own gate."""
        return 1

    @uncompiled
    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        ids: Tensor | None = None,
        task: Tensor | None = None,
        earlier: Sequence[Routing] = (),
    ) -> tuple[Tensor, Routing]:
        """Route the items, run the experts and combine their outputs.

        Args:
            x: tokens ``(..., D)``, with one group per index of the first axis if there are three
                axes or more; or whole samples ``(N, L, D)`` or ``(N, D, H, W)``, all in one
                group, if the bank's rows are samples.
            mask: bool, False at padding: ``(...)`` for tokens; ``(N,)`` for samples, or
                ``(N, L)`` for positions of sequences.
            ids: integers that identify each item's content, ``(...)`` or ``(N,)``.
            task: integers that identify each item's task, in the same shape, or one per group.
            earlier: routings of the same items in the layers before, the nearest last.

        Returns:
            ``y`` with the shape and dtype of ``x`` (``(T, *x.shape)`` for a router with weights
            for ``T`` tasks), 0 at padding; and the routing. ``ValueError`` if shapes do not match.
        """
        return self._pass(x, self.router, mask=mask, ids=ids, task=task, earlier=earlier)

    def _pass(
        self,
        x: Tensor,
        router: Router,
        *,
        mask: Tensor | None = None,
        ids: Tensor | None = None,
        task: Tensor | None = None,
        earlier: Sequence[Routing] = (),
    ) -> tuple[Tensor, Routing]:
        """A forward pass with a router."""
        if torch.compiler.is_exporting():
            raise RuntimeError(
                "the engine has no static shapes: export experts.static_copy(model), which finds "
                "layers in submodules, lists, tuples and dicts"
            )
        streams = [
            layer_input(self.bank, each, mask, ids, task, self.dim) for each in self._streams(x)
        ]
        items, last = streams[0].items, streams[-1]
        if len(streams) > 1:
            items = replace(items, x=torch.cat([stream.items.x for stream in streams], -1))
        if earlier:
            items = replace(items, earlier=tuple(earlier))
        if router.traits.needs_projections:
            items = replace(items, projections=projections_of(self.bank, self.latent))
        routing = self._dropped(router(items))
        for change in self.changes:
            routing = change(items, routing)
        if self.training:
            self._never_adapted.count_pass(self, self.router)
        y, outputs = self._outputs(streams, routing)
        if outputs is not None:
            routing = replace(routing, outputs=outputs)
        # (N, ...) or (T, N, ...) in the shape of the stream; the width may be another
        axes = last.rows.dim() - 1
        tasks, lead = y.dim() - axes - 1, last.shape[: len(last.shape) - axes]
        return y.reshape(*y.shape[:tasks], *lead, *y.shape[tasks + 1 :]), routing

    def with_parts(self, router: Router, bank: Bank) -> Self:
        """A copy of the layer with another router and other experts; all else is the same.

        ``ConfigError`` if they do not fit to each other or to the shared experts.
        """
        _check(**{**vars(self), **self._modules, "router": router, "bank": bank})
        # deepcopy takes the values of its memo for copies that it has made
        return deepcopy(self, {id(self.router): router, id(self.bank): bank})

    def flops(self, routing: Routing, row_shape: tuple[int, ...]) -> int:
        """FLOPs of the layer without its router: experts, shared experts, form of execution."""
        experts = self.expert_flops(routing.load.tolist(), int(routing.num_real), row_shape)
        outside = execution_flops(routing.execution, routing, self.bank, row_shape)
        if self.latent is not None:
            outputs = routing.weight.shape[1] if routing.weight.dim() > 1 else self.num_gates
            maps = self.latent.flops(row_shape, self.num_streams, outputs)
            outside += routing.num_items * maps
        return experts + outside

    def expert_flops(self, load: Sequence[int], items: int, row_shape: Sequence[int]) -> int:
        """FLOPs of the experts: rows of each, ``load`` ``(E,)``, times FLOPs per row.

        All ``items``, the number of real ones, count for every shared expert.

        >>> import experts, routers
        >>> layer = MoE(routers.build("topk", 4, 2), experts.build("mlp", 4, 2, hidden=8))
        >>> layer.expert_flops([5, 1], 3, (4,))  # 6 rows of 128
        768
        """
        per_row = self.bank.flops(row_shape)
        total = sum(rows * flops for rows, flops in zip(load, per_row, strict=True))
        return total if self.shared is None else total + items * sum(self.shared.flops(row_shape))

    def _streams(self, x: Tensor) -> Sequence[Tensor]:
        """The streams in ``x``: one here, several with several gates."""
        return [x]

    def _outputs(
        self, streams: Sequence["LayerInput"], routing: Routing
    ) -> tuple[Tensor, Tensor | None]:
        """The sum of the outputs of the experts and of the shared experts; outputs if kept."""
        y, outputs = self._routed(streams, routing)
        if self.shared is not None:
            y = y + self._shared_output(self.shared, streams[-1])
        return y, outputs

    def _shared_output(self, shared: Bank, given: "LayerInput") -> Tensor:
        """Run every shared expert on every real item."""
        every = given.items.x.new_ones(len(given.items), shared.num_experts)
        return mix(given.rows, Routing.by_mask(given.items, every), shared, given.inner)

    def _routed(
        self, streams: Sequence["LayerInput"], routing: Routing
    ) -> tuple[Tensor, Tensor | None]:
        """The sum of the outputs of the experts, in the width of the layer; outputs if kept."""
        if self.latent is None:
            return self._mixed(streams, routing)
        latent = self.latent
        narrow = [stream._replace(rows=latent.narrow(stream.rows)) for stream in streams]
        y, outputs = self._mixed(narrow, routing)
        return latent.widen(y), outputs

    def _mixed(
        self, streams: Sequence["LayerInput"], routing: Routing
    ) -> tuple[Tensor, Tensor | None]:
        """Run every expert on the rows of its stream; their sum, and their outputs if kept."""
        return self._mix(streams[0].rows, routing, streams[0].inner)

    def _mix(
        self, rows: Tensor, routing: Routing, inner: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if self.keep_outputs:
            return mix_with_outputs(rows, routing, self.bank, inner)
        return mix(rows, routing, self.bank, inner), None

    def _dropped(self, routing: Routing) -> Routing:
        """The routing within capacity; in training without experts drawn for dropout.

        In evaluation without assignments that ``skip`` leaves out: after capacity, so that an item
        with any place left keeps one.
        """
        if self.capacity is not None:
            routing = routing.limit(
                self.capacity,
                self.drop,
                renormalize=self.renormalize,
                rounding=self.rounding,
                generator=torch.default_generator if self.training else None,
            )
        if self.training and self.expert_dropout and routing.supports_dropping:
            stays = torch.rand(routing.num_experts, device=routing.expert.device)
            stays = stays >= self.expert_dropout
            routing = routing.drop(stays[routing.expert], renormalize=True)
        if not self.training and self.skip:
            routing = routing.skip(self.skip, renormalize=self.renormalize)
        return routing


class LayerInput(NamedTuple):
    """A stream of ``shape``: for routers, and for experts as rows ``(N, ...)``.

    ``inner`` ``(N, L)`` is False at padding inside sequences; None if all is real.
    """

    items: Items
    rows: Tensor
    inner: Tensor | None
    shape: torch.Size


def layer_input(
    bank: Bank,
    x: Tensor,
    mask: Tensor | None = None,
    ids: Tensor | None = None,
    task: Tensor | None = None,
    dim: int | None = None,
) -> LayerInput:
    """Split ``x`` into items as ``bank`` takes them; ``ValueError`` if shapes do not match.

    ``dim`` is the width, that of ``bank`` if None.
    """
    axes, dim = bank.row_axes, dim or bank.dim
    fits = x.dim() == len(axes) + 1 or (len(axes) == 1 and x.dim() > 1)
    if not fits or x.shape[axes.index("D") - len(axes)] != dim:
        first = "N" if len(axes) > 1 else "..."
        wanted = f"({first}, {', '.join(axes)}) with D={dim}"
        raise ValueError(f"x has shape {tuple(x.shape)}: expected {wanted}")
    if len(axes) > 1:  # every x[i] is an item, pooled for the router; all are one group
        inner = None
        if mask is not None and mask.dim() == 2 and "L" in axes:
            _check_like(x.shape[:2], mask=mask)
            inner, mask = mask, mask.any(1)
        _check_like(x.shape[:1], mask=mask, ids=ids, task=task)
        x = blank(x, mask if inner is None else inner)
        items = Items(bank.pool(x, inner), mask=mask, ids=ids, task=task)
        return LayerInput(items, x, inner, x.shape)
    # every vector (D,) of (..., D) is an item; the first of several axes is groups
    lead = x.shape[:-1]
    if task is not None and task.shape == lead[:1]:
        task = task.view(-1, *[1] * (len(lead) - 1)).expand(lead)
    _check_like(lead, mask=mask, ids=ids, task=task)
    groups = max(lead[0], 1) if len(lead) > 1 else 1
    rows = blank(x, mask).reshape(-1, dim)
    mask, ids, task = (None if value is None else value.reshape(-1) for value in (mask, ids, task))
    return LayerInput(Items(rows, groups, mask, ids, task), rows, None, x.shape)


def blank(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` with zeros at padding, which may hold NaN: NaN times 0 is NaN."""
    if mask is None:
        return x
    return x.masked_fill(~mask.view(*mask.shape, *[1] * (x.dim() - mask.dim())), 0.0)


def _check_like(shape: torch.Size, **values: Tensor | None) -> None:
    for name, value in values.items():
        if value is not None and value.shape != shape:
            raise ValueError(f"{name} has shape {tuple(value.shape)}: expected {tuple(shape)}")


def _check(
    *,
    router: Router | None = None,
    bank: Bank | None = None,
    shared: Bank | None = None,
    latent: Latent | None = None,
    capacity: float | None = None,
    drop: str = "position",
    rounding: str = "ceil",
    expert_dropout: float = 0.0,
    skip: Mapping[str, float] | None = None,
    **_: object,
) -> None:
    """Raise ``ConfigError`` unless the arguments of a layer are valid, those set so far."""
    if router is not None and bank is not None:
        width = bank.dim if latent is None else latent.dim
        _check_fit("router", router, {"dim": width, "num_experts": bank.num_experts})
        if router.traits.merges:
            check_merges(bank)
        if router.traits.needs_projections and bank.projections() is None:
            raise ConfigError(
                f"{type(router).__name__} reads the weights of experts, and {type(bank).__name__} "
                "has no method projections; use experts that have it, such as mlp"
            )
    if bank is not None and latent is not None:
        latent.check(bank)
    if shared is not None and bank is not None:
        wide, out = (bank.dim, bank.out_dim) if latent is None else (latent.dim, latent.dim)
        _check_fit("shared", shared, {"dim": wide, "out_dim": out, "row_axes": bank.row_axes})
    check_capacity_options(1.0 if capacity is None else capacity, drop, rounding)
    if not 0 <= expert_dropout < 1:
        raise OptionError("expert_dropout", expert_dropout, "a number in [0, 1)")
    with option_errors_under("skip"):
        check_skip(skip)


def _check_fit(name: str, part: Router | Bank, of_bank: Mapping[str, Any]) -> None:
    for field, wanted in of_bank.items():
        has = getattr(part, field)
        if has != wanted:
            problem = f"{name}.{field}={has} but the bank's is {wanted}"
            raise ConfigError(f"{problem}; build {name} and bank for the same {field}")
