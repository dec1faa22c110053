"""What a router may look at."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Items:
    """A batch of things to route.

    Attributes:
        x: features, ``(N, D)``.
        groups: ``N`` is split into this many contiguous groups of equal length; items of a
            group may see each other (the tokens of one sequence).
        mask: ``(N,)`` bool, False where an item is padding; None where all are real.
        ids: ``(N,)`` integers that name an item's content, such as its token id.
        task: ``(N,)`` integers that name an item's task, language or domain.

    >>> items = Items(torch.zeros(6, 4), groups=2)
    >>> items.group_length
    3
    """

    x: Tensor
    groups: int = 1
    mask: Tensor | None = None
    ids: Tensor | None = None
    task: Tensor | None = None

    def __post_init__(self) -> None:
        if self.x.dim() != 2:
            raise ValueError(f"x must be (N, D), got {tuple(self.x.shape)}")
        if self.groups < 1 or len(self) % self.groups:
            raise ValueError(f"{len(self)} items do not split into {self.groups} equal groups")
        for name in ("mask", "ids", "task"):
            value = getattr(self, name)
            if value is not None and value.shape != self.x.shape[:1]:
                raise ValueError(f"{name} must be ({len(self)},), got {tuple(value.shape)}")
        if self.mask is not None and self.mask.dtype != torch.bool:
            raise ValueError(f"mask must be bool, got {self.mask.dtype}")

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def group_length(self) -> int:
        """Items in a group, padding included: ``L = N / G``."""
        return len(self) // self.groups

    def grouped(self, values: Tensor) -> Tensor:
        """``(N, ...)`` as ``(G, L, ...)``."""
        return values.reshape(self.groups, self.group_length, *values.shape[1:])

    def real(self) -> Tensor:
        """``(N,)`` bool, True for items that are not padding."""
        if self.mask is not None:
            return self.mask
        return torch.ones(len(self), dtype=torch.bool, device=self.x.device)

    def in_full_precision(self) -> "Items":
        """The same items with ``x`` in float32 or wider: gates never run in half precision."""
        wide = torch.promote_types(self.x.dtype, torch.float32)
        return self if wide == self.x.dtype else replace(self, x=self.x.to(wide))
