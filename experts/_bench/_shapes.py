"""The sizes of layer that are measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Shape:
    """One layer and its batch: ``N`` tokens of width ``D``, ``E`` experts of ``H``, ``K`` a token.

    >>> print(Shape(4096, 256, 1024, 8, 2))
    N=4096 D=256 H=1024 E=8 K=2
    """

    tokens: int
    dim: int
    hidden: int
    experts: int
    k: int

    @property
    def flops(self) -> int:
        """Forward FLOPs per token of ``K`` experts with two matrices; a multiply-add is 2."""
        return 4 * self.k * self.dim * self.hidden

    def __str__(self) -> str:
        sizes = (self.tokens, self.dim, self.hidden, self.experts, self.k)
        return " ".join(f"{axis}={size}" for axis, size in zip("NDHEK", sizes, strict=True))


#: Few large experts, many small ones, and what lies between.
SHAPES: Mapping[int, Shape] = MappingProxyType(
    {
        1: Shape(4096, 256, 1024, 8, 2),
        2: Shape(4096, 512, 1024, 64, 2),
        3: Shape(4096, 256, 256, 64, 4),
        4: Shape(2048, 64, 128, 8, 2),
        5: Shape(8192, 128, 256, 256, 2),
        6: Shape(4096, 128, 128, 1024, 4),
    }
)

#: The same work among ever more experts.
GROWTH: Sequence[Shape] = tuple(Shape(4096, 128, 128, 2**power, 4) for power in range(3, 13))
