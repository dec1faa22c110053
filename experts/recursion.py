"""One network applied again and again: experts differ in how often."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from routers import ConfigError, OptionError
from routers.plugins import rebuilt

from ._bank import EXPERTS, Bank


@EXPERTS.register("recursion")
class Recursion(Bank):
    """One network that each expert applies as often as its depth; a router chooses depths.

    ``h_t = h_{t-1} + FFN(norm(h_{t-1}))`` from ``h_0 = x``; expert ``e`` returns ``h_d - x`` for
    its depth ``d``. All parameters are shared. With a router of one expert per item, each item has
    its own number of passes.

    Source: token-choice routing of Mixture-of-Recursions, 2507.10524, which repeats blocks with
    attention; repeating a layer without it, and the norm by the root mean square, are ours.

    Args:
        expert: the network, a name or ``{name: …, option: …}``.
        depths: passes of each expert; 1, 2, … if None.

    >>> bank = Recursion(4, 3, expert={"name": "mlp", "hidden": 8})
    >>> bank.flops((4,)), bank.parameters_per_expert()
    ((128, 256, 384), (0, 0, 0))
    """

    row_axes: tuple[str, ...] = ()  # those of its network

    def __init__(
        self,
        dim: int,
        num_experts: int,
        *,
        expert: str | Mapping[str, Any] = "mlp",
        depths: Sequence[int] | None = None,
    ) -> None:
        super().__init__(dim, num_experts)
        self.depths = list(range(1, num_experts + 1) if depths is None else depths)
        fits = len(self.depths) == num_experts and min(self.depths) >= 0 < max(self.depths)
        if not fits:
            expected = f"an integer >= 0 for each of {num_experts} experts, one > 0, or null"
            raise OptionError("depths", depths, expected)
        options = {"name": expert} if isinstance(expert, str) else dict(expert)
        if not isinstance(options.get("name"), str):
            raise OptionError("expert", expert, "a name, or {name: mlp, hidden: 64}")
        self.inner: Bank = EXPERTS.build(options.pop("name"), dim, 1, **options)
        self.row_axes = self.inner.row_axes
        if self.row_axes[-1] != "D" or self.inner.out_dim != dim:
            rows = ", ".join(self.row_axes)
            raise ConfigError(f"expert.expert: rows ({rows}) cannot be repeated; use mlp or glu")

    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        depth = load.new_tensor(self.depths).repeat_interleave(load)
        state = rows
        for passed in range(max(self.depths, default=0)):
            active = (depth > passed).nonzero().squeeze(1)  # without any, parameters get gradients
            inputs = F.rms_norm(state.index_select(0, active), (self.dim,))
            own = None if mask is None else mask.index_select(0, active)
            out = self.inner(inputs, load.new_tensor([len(active)]), own)
            state = state.index_add(0, active, out.to(state.dtype))
        return state - rows

    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        [each] = self.inner.flops(row_shape)
        return tuple(depth * each for depth in self.depths)

    def parameters_per_expert(self) -> tuple[int, ...]:
        return (0,) * self.num_experts

    def parameters_of(self, expert: int) -> Iterator[Tensor]:
        return iter(())

    @torch.no_grad()
    def take_experts(self, index: Sequence[int]) -> "Recursion":
        depths = [self.depths[expert] for expert in index]
        new = rebuilt(self, num_experts=len(index), depths=depths).train(self.training)
        for old, own in zip(self.parameters(), new.parameters(), strict=True):
            own.data = old.detach().clone()
            own.requires_grad_(old.requires_grad)
        return new
