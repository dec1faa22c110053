"""The base class of families: what a pretrained block is as a layer, and where its weights are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from routers import ROUTERS, ConfigError, OptionError
from routers.plugins import Registry

from .._bank import EXPERTS
from ..layers.moe import MoE

P = TypeVar("P")

#: Name and options of a router or bank: ``{"name": "topk", "k": 2}``.
Part = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """How one tensor of a layer lies in tensors of a block.

    Attributes:
        read: the layer's tensor, from those of the block.
        write: those of the block, from the layer's tensor.
    """

    read: Callable[[Sequence[Tensor]], Tensor]
    write: Callable[[Tensor], Sequence[Tensor]]


#: The same tensor.
SAME = Layout(lambda given: given[0], lambda own: [own])
#: One stack of matrices with outputs first, as in ``nn.Linear``; here inputs are first.
TRANSPOSED = Layout(lambda given: given[0].mT, lambda own: [own.mT])
#: A matrix with outputs first per expert.
PER_EXPERT = Layout(
    lambda given: torch.stack([each.t() for each in given]), lambda own: own.mT.unbind()
)
#: Two matrices with outputs first; here they are the halves of the only expert's first matrix.
HALVES = Layout(
    lambda given: torch.cat(list(given)).t().unsqueeze(0), lambda own: own[0].t().chunk(2)
)
#: Columns of two matrices in turn; here one matrix after the other.
INTERLEAVED = Layout(
    lambda given: torch.cat([given[0][..., ::2], given[0][..., 1::2]], -1),
    lambda own: [torch.stack(own.chunk(2, -1), -1).flatten(-2)],
)


@dataclass(frozen=True)
class Weights:
    """Tensors of a block, by dotted names, that hold one tensor of a layer."""

    layout: Layout
    names: Sequence[str]


@dataclass(frozen=True)
class Plan:
    """A block as a layer: its parts, and where their tensors are in the block.

    Attributes:
        dim: ``D``.
        num_experts: ``E``.
        router: name and options.
        bank: name and options.
        shared: name and options of the shared expert; None if there is none.
        options: other arguments of ``MoE``, such as ``capacity``.
        weights: for every tensor of the layer, by its dotted name.
    """

    dim: int
    num_experts: int
    router: Part
    bank: Part
    weights: Mapping[str, Weights]
    shared: Part | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> MoE:
        """The layer without memory for its tensors, on the device ``meta``."""
        with torch.device("meta"):
            router = self._part(ROUTERS, self.router, self.num_experts)
            bank = self._part(EXPERTS, self.bank, self.num_experts)
            shared = None if self.shared is None else self._part(EXPERTS, self.shared, 1)
        return MoE(router, bank, shared=shared, **self.options)

    def _part(self, registry: Registry[P], part: Part, number: int) -> P:
        options = {**part}
        return registry.build(options.pop("name"), self.dim, number, **options)


class Family(ABC):
    """One kind of pretrained block: how it is read as a layer.

    A subclass is registered under the name of the block's class.

    Args:
        block: the block, which stays as it is.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    @abstractmethod
    def plan(self) -> Plan:
        """The block as a layer; ``ConfigError`` for settings that a layer does not have."""

    @staticmethod
    def returned(y: Tensor) -> Any:
        """Form what the block returns to its model: the output alone, unless overridden."""
        return y

    def value(self, name: str) -> Any:
        """A setting or tensor of the block by its dotted name; ``ConfigError`` if it has none."""
        try:
            return attrgetter(name)(self.block)
        except AttributeError:
            raise ConfigError(
                f"{type(self.block).__name__} has no {name}: it is of another version of its "
                "library than the families here, which are those of transformers 5"
            ) from None

    def require_activation(self, name: str, *kinds: str) -> None:
        """Raise ``ConfigError`` unless a module of the block is of one of these classes."""
        kind = type(self.value(name)).__name__
        if kind not in kinds:
            raise OptionError(
                name, kind, " or ".join(kinds), "Experts with this activation have no bank here"
            )


FAMILIES = Registry("family", Family, group="switchyard.families", positional=1)
