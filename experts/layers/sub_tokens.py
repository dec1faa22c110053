"""Items split in parts that are routed one by one, and merged again."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from routers import ConfigError, OptionError, Router, Routing
from routers.blocks import uncompiled

from .._bank import Bank
from .joint import folded
from .moe import MoE, blank


class SubTokenMoE(MoE):
    """A mixture of experts for parts of items: ``merge(MoE(split(x)))``.

    A linear map of the item is split in ``heads`` parts, each is routed as a separate item to
    experts of its width, and a linear map merges their outputs. The routing is that of whole
    items, with the assignments of all their parts; its only gate is that of the parts.

    Source: MH-MoE, Wu et al. 2024, 2404.15045, section 3; without biases, so that padding stays 0.

    Args:
        router: for parts, of width ``D / heads``.
        bank: experts of the same width, for tokens.
        heads: parts of an item.
        settings: as in ``MoE``, for parts: shared experts have their width too.

    >>> import experts, routers, torch
    >>> layer = SubTokenMoE(routers.build("topk", 4, 6), experts.build("mlp", 4, 6), heads=3)
    >>> y, routing = layer(torch.randn(2, 5, 12))
    >>> y.shape, routing.num_items, routing.load.sum().item()
    (torch.Size([2, 5, 12]), 10, 60)
    """

    def __init__(self, router: Router, bank: Bank, *, heads: int, **settings: Any) -> None:
        super().__init__(router, bank, **settings)
        if heads < 1:
            raise OptionError("heads", heads, "an integer >= 1")
        if bank.row_axes != ("D",):
            axes = ", ".join(bank.row_axes)
            raise ConfigError(
                f"heads={heads}: parts of tokens are routed, and rows of {type(bank).__name__} are "
                f"({axes}); use experts of tokens, such as mlp"
            )
        self.heads = heads
        self.split = nn.Linear(self.input_dim, self.input_dim, bias=False)
        self.merge = nn.Linear(self.input_dim, self.input_dim, bias=False)

    @property
    def input_dim(self) -> int:
        return self.dim * self.heads

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
        """As ``MoE.forward``; the parts of an item have its mask, its id and its task."""
        if x.dim() < 2 or x.shape[-1] != self.input_dim:
            wanted = f"(..., D) with D={self.input_dim}, heads={self.heads} of {self.dim}"
            raise ValueError(f"x has shape {tuple(x.shape)}: expected {wanted}")
        *lead, length = x.shape[:-1]

        def of_parts(values: Tensor | None) -> Tensor | None:
            each = values is not None and values.shape == x.shape[:-1]
            return (
                values.repeat_interleave(self.heads, -1) if values is not None and each else values
            )

        parts = self.split(blank(x, mask)).view(*lead, length * self.heads, self.dim)
        n = parts.shape[:-1].numel()
        y, routing = super().forward(
            parts,
            mask=of_parts(mask),
            ids=of_parts(ids),
            task=of_parts(task),
            earlier=[r.gates[0] for r in earlier if [g.num_items for g in r.gates] == [n]],
        )
        y = self.merge(y.view(*y.shape[: y.dim() - x.dim()], *x.shape))
        return y, folded(routing, self.heads)

    def flops(self, routing: Routing, row_shape: tuple[int, ...]) -> int:
        maps = 4 * routing.num_items * self.input_dim**2
        return super().flops(routing, row_shape) + maps

    def expert_flops(self, load: Sequence[int], items: int, row_shape: Sequence[int]) -> int:
        return super().expert_flops(load, items * self.heads, row_shape)
