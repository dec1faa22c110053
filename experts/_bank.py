"""The base class of all expert architectures."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from routers import ConfigError, OptionError, Routing
from routers.plugins import Registry, ShowsArguments, fill, rebuilt

from .kernels.layouts import DispatchIndex


class Bank(ShowsArguments, nn.Module, ABC):
    """All experts of one layer, with one architecture.

    The engine passes a bank rows sorted by expert, and the number of rows of each. A bank is
    independent of routers. Its constructor's keyword arguments are its config schema.

    Parameters are stacked, ``(E, ...)``, so that an expert without rows still gets a gradient
    (zero), which distributed training needs.

    Args:
        dim: ``D``, the width of inputs and outputs.
        num_experts: ``E``.

    Class attributes:
        row_axes: the axes of one row: ``("D",)`` for a token, ``("L", "D")`` for a sequence,
            ``("D", "H", "W")`` for an image. An instance may differ from its class.
        expert_parameters: names of the stacked parameters, in which alone experts differ and
            which can be averaged over experts; empty if experts have several forms.

    >>> import experts
    >>> bank = experts.build("mlp", 4, 3, hidden=8)
    >>> bank(torch.ones(5, 4), load=torch.tensor([2, 0, 3])).shape
    torch.Size([5, 4])
    >>> bank.flops((4,)), bank.parameters_per_expert()
    ((128, 128, 128), (64, 64, 64))
    """

    row_axes: tuple[str, ...] = ("D",)
    expert_parameters: tuple[str, ...] = ()

    def __init__(self, dim: int, num_experts: int) -> None:
        super().__init__()
        for name, size in (("dim", dim), ("num_experts", num_experts)):
            if size < 1:
                raise OptionError(name, size, "an integer >= 1")
        self.dim = dim
        self.num_experts = num_experts
        #: Width of outputs, if it is not ``dim``; a network of a task adds outputs to inputs.
        self.out_dim = dim

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for method in ("mix", "run_even"):  # if inherited, they would bypass a new ``forward``
            newest = next(base for base in cls.__mro__ if {"forward", method} & vars(base).keys())
            if method not in vars(newest):
                setattr(cls, method, getattr(Bank, method))

    @abstractmethod
    def forward(self, rows: Tensor, load: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run each row through its expert.

        Args:
            rows: ``(A, ...)``, sorted by expert; the result has the same shape.
            load: ``(E,)`` int64, rows of each expert; they sum to ``A``.
            mask: ``(A, L)`` bool, False at padding inside sequences: outputs there are 0, and
                outputs elsewhere do not depend on it. None if all is real, and always for banks
                whose rows are not sequences.
        """

    @abstractmethod
    def flops(self, row_shape: Sequence[int]) -> tuple[int, ...]:
        """FLOPs of one row of ``row_shape`` through each expert, ``(E,)``.

        They are those that ``count_flops`` measures: element-wise operations do not count.
        """

    def mix(self, x: Tensor, routing: Routing, mask: Tensor | None = None) -> Tensor:
        """Execute a routing: gather rows by expert, run the experts, combine by weight.

        A bank with a faster way from items to items overrides this; results must be the same. The
        engine does not use the override while the bank has hooks, as these expect rows; a
        subclass that overrides only ``forward`` does not inherit it. Arguments and result are
        those of ``experts.mix``, for assignments of items and not of slots.
        """
        index = DispatchIndex.by_expert(routing)
        return index.combine(self.run(x, routing, index, mask), routing.weight)

    def run(
        self, x: Tensor, routing: Routing, index: DispatchIndex, mask: Tensor | None = None
    ) -> Tensor:
        """Gather rows by expert and run the experts: ``(A, ...)``, sorted by expert."""
        row_mask = None if mask is None else mask.index_select(0, index.source)
        out: Tensor = self(index.gather(x), routing.load, row_mask)
        return out.to(x.dtype)

    def projections(self) -> Tensor | None:
        """The matrix by which each expert first reads a row, ``(E, D, P)``; None if it has none.

        Routers with the trait ``needs_projections`` compute scores from it before the selection,
        and gradients flow into the experts.
        """
        return None

    def run_even(self, rows: Tensor, stacks: Sequence[Tensor]) -> Tensor:
        """Run every expert on as many rows, without branches or shapes that depend on values.

        ``experts.static_copy`` needs it; optional otherwise.

        Args:
            rows: ``(E, R, D)``; the result has the same shape.
            stacks: the values of ``expert_parameters``.
        """
        raise ConfigError(f"expert: {type(self).__name__} has no static form")

    def take_experts(self, index: Sequence[int]) -> Self:
        """A bank whose expert ``i`` is a copy of expert ``index[i]`` of this one.

        What experts share stays. A bank without ``expert_parameters`` overrides this;
        ``ConfigError`` if it does not.

        >>> import experts
        >>> bank = experts.build("mlp", 4, 3)
        >>> bank.take_experts([2, 0, 0, 1]).down[2].equal(bank.down[0])
        True
        """
        if not self.expert_parameters:
            raise ConfigError(
                f"expert: {type(self).__name__} has experts of several forms and no method "
                "take_experts; add one, or choose experts of one form such as mlp"
            )
        new = rebuilt(self, num_experts=len(index))
        return fill(new, self, dict.fromkeys(self.expert_parameters, (0, index)))

    def parameters_of(self, expert: int) -> Iterator[Tensor]:
        """Views of the parameters of one expert, without those that experts share."""
        if not self.expert_parameters:
            raise ConfigError(
                f"expert: {type(self).__name__} has experts of several forms and no method "
                "parameters_of; add one, or choose experts of one form such as mlp"
            )
        return (self.get_parameter(name)[expert] for name in self.expert_parameters)

    def parameters_per_expert(self) -> tuple[int, ...]:
        """The number of parameters of each expert, ``(E,)``, without shared ones."""
        total = sum(p.numel() for p in self.parameters())
        return (total // self.num_experts,) * self.num_experts

    def pool(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The features of rows ``(N, ...)`` for a router: means over inner positions, ``(N, D)``.

        ``mask`` ``(N, L)`` is False at padding of sequences; None if all is real.
        """
        inner = [axis + 1 for axis, name in enumerate(self.row_axes) if name != "D"]
        if not inner:
            return x
        if mask is None:
            return x.mean(inner)
        total = x.masked_fill(~mask.unsqueeze(-1), 0.0).sum(1)
        return total / mask.sum(1, keepdim=True).clamp_min(1)


EXPERTS = Registry("expert", Bank, group="switchyard.experts", positional=2)


def stacked(num_experts: int, inputs: int, *shape: int) -> nn.Parameter:
    """Weights ``(E, inputs, *shape)``, initialized like those of ``nn.Linear``."""
    bound = inputs**-0.5
    return nn.Parameter(torch.empty(num_experts, inputs, *shape).uniform_(-bound, bound))


def check_hidden(hidden: int | None, default: int) -> int:
    """Return the hidden width ``H``, the default for None; ``ConfigError`` below 1."""
    if hidden is None:
        return default
    if hidden < 1:
        raise OptionError("hidden", hidden, f"an integer >= 1, or null for {default}")
    return hidden


def check_dropout(dropout: float) -> float:
    """Return a probability below 1; ``ConfigError`` otherwise."""
    if not 0 <= dropout < 1:
        raise OptionError("dropout", dropout, "a number in [0, 1)")
    return dropout
