"""The output of an expert replaced by its mean."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from routers import ConfigError

from .._bank import Bank
from ..layers.moe import MoE
from ..layers.switch_head import SwitchHead
from ._base import INTERVENTIONS, Intervention

#: What a bank is called with: rows, load and, for sequences with padding, a mask.
Given = tuple[Any, ...]


@INTERVENTIONS.register("mean")
class MeanOutput(Intervention):
    """The expert's output is replaced by its mean over the data, a constant vector ``(D,)``.

    What differs from ``drop`` is what the expert does for all of its items alike. The mean is over
    the rows that the expert works on and, of samples that are routed as a whole, over positions.

    Source: mean ablation, Wang et al. 2022, 2211.00593, section 2.1.
    """

    def __init__(self, layer: MoE) -> None:
        super().__init__(layer)
        if layer.router.traits.merges:
            name = type(layer.router).__name__
            raise ConfigError(
                f"mean: {name} averages the parameters of experts, so that no expert has an output "
                "to replace; use drop"
            )
        if isinstance(layer, SwitchHead):
            raise ConfigError(
                "mean: experts of SwitchHead have outputs of two widths, so that no mean fits; "
                "use drop"
            )
        self.axis = layer.bank.row_axes.index("D") + 1
        self.sums = torch.zeros(layer.bank.num_experts, layer.bank.dim, dtype=torch.float64)
        self.counts = torch.zeros(layer.bank.num_experts, 1, dtype=torch.float64)

    @property
    def means(self) -> Tensor:
        """The mean output of each expert, ``(E, D)`` float64; 0 of an expert without rows."""
        return self.sums / self.counts.clamp_min(1)

    def observe(self) -> AbstractContextManager[None]:
        return self._hooked(self._add)

    def apply(self, target: int | None) -> AbstractContextManager[None]:
        assert target is not None
        mean = self.means[target]

        def replace(bank: Bank, given: Given, output: Tensor) -> Tensor:
            vectors = output.movedim(self.axis, -1)
            constant = mean.to(output) * _real(given, vectors).to(output.dtype)
            is_target = torch.repeat_interleave(given[1]) == target
            is_target = is_target.view(-1, *[1] * (vectors.dim() - 1))
            return torch.where(is_target, constant, vectors).movedim(-1, self.axis)

        return self._hooked(replace)

    def _add(self, bank: Bank, given: Given, output: Tensor) -> None:
        """Add the outputs of a pass."""
        vectors = output.detach().double().movedim(self.axis, -1)
        real = _real(given, vectors)
        expert = torch.repeat_interleave(given[1]).cpu()
        inner = tuple(range(1, vectors.dim() - 1))
        for total, values in ((self.sums, vectors * real), (self.counts, real.double())):
            total.index_add_(0, expert, (values.sum(inner) if inner else values).cpu())

    @contextmanager
    def _hooked(self, hook: Callable[..., Any]) -> Iterator[None]:
        handle = self.layer.bank.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()


def _real(given: Given, vectors: Tensor) -> Tensor:
    """Whether a position of rows ``(A, ..., D)`` is not padding, ``(A, ..., 1)`` bool."""
    mask = given[2] if len(given) > 2 else None
    return torch.ones_like(vectors[..., :1]).bool() if mask is None else mask.unsqueeze(-1)
