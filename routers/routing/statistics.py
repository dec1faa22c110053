"""What can be read from a routing: loads, gate mass, distributions, who reaches whom."""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from .._torch.sorting import stable_order
from .assignments import Graph


class Readings(Graph):
    """Everything that losses, metrics and the engine want to know of a graph.

    Where there are ``candidates``, only ``chosen`` and ``to_dense`` build ``(N, E)``.
    """

    @cached_property
    def load(self) -> Tensor:
        """Rows each expert computes, ``(E,)`` int64."""
        if self.merge is not None:
            runs = self.merge.shape[0] if self.merge.dim() > 2 else 1
            return _in_whole_rows(self.importance, self.num_real * runs)
        return torch.bincount(self.expert, minlength=self.num_experts)

    @cached_property
    def order(self) -> Tensor:
        """The permutation that sorts the assignments by expert, ``(A,)``; the engine's plan."""
        if self.fan_in is not None:
            return torch.arange(self.num_assignments, device=self.expert.device)
        return stable_order(self.expert, self.num_experts)

    @property
    def requested_load(self) -> Tensor:
        """Rows each expert was asked to compute, before drops, ``(E,)`` int64."""
        return self.load if self.requested is None else self.requested

    @cached_property
    def importance(self) -> Tensor:
        """Gate mass each expert gets, before drops, ``(E,)``; Shazeer et al. 2017, equation 6."""
        if self.given_importance is not None:
            return self.given_importance
        if self.blend is not None:
            return self.unpadded(self.probs).sum(0)
        mass = self.weight.unsqueeze(-1).flatten(1).sum(1)
        return mass.new_zeros(self.num_experts).index_add(0, self.expert, mass)

    @cached_property
    def probs(self) -> Tensor:
        """The gate's distribution, ``(N, E)``; the weights themselves where it has none.

        Of the candidates alone, ``(N, S)``, where there are any.
        """
        if self.given_probs is not None:
            return self.given_probs
        if self.logits is not None:
            return self.logits.softmax(-1)
        mass = self.weight.unsqueeze(-1).flatten(1).mean(1)
        flat = mass.new_zeros(self.num_items * self.num_experts)
        cell = self.item * self.num_experts + self.expert
        return flat.index_add(0, cell, mass).view(self.num_items, self.num_experts)

    @cached_property
    def prob_sums(self) -> Tensor:
        """Sums of ``probs`` over the real items, ``(E,)``, also where they are of candidates."""
        if self.candidates is None:
            return self.unpadded(self.probs).sum(0)
        probs, expert = self.unpadded(self.probs), self.unpadded(self.candidates)
        return _scattered(expert.flatten(), probs.flatten(), self.num_experts)

    @cached_property
    def prob_sums_by_group(self) -> Tensor:
        """The same for the items of each group, ``(G, E)``."""
        probs = self.probs if self.mask is None else self.probs.where(self.mask.unsqueeze(1), 0.0)
        groups, e = self.groups, self.num_experts
        if self.candidates is None:
            return probs.reshape(groups, self.num_items // groups, e).sum(1)
        group = torch.arange(groups, device=probs.device).unsqueeze(1)
        cell = group * e + self.candidates.reshape(groups, -1)
        return _scattered(cell.flatten(), probs.flatten(), groups * e).view(groups, e)

    def to_dense(self, scores: Tensor) -> Tensor:
        """Scores such as ``probs`` as ``(N, E)``, 0 for experts that are no candidates."""
        if self.candidates is None:
            return scores
        first = torch.arange(self.num_items, device=scores.device).unsqueeze(1) * self.num_experts
        cells = self.num_items * self.num_experts
        grid = _scattered((first + self.candidates).flatten(), scores.flatten(), cells)
        return grid.view(self.num_items, self.num_experts)

    @cached_property
    def log_partition(self) -> Tensor | None:
        """logsumexp of the scores, ``(N,)``; ``(N, G)`` for ``G`` gates or heads; None without."""
        if self.logits is None or self.given_log_partition is not None:
            return self.given_log_partition
        return self.logits.logsumexp(-1)

    @cached_property
    def chosen(self) -> Tensor:
        """Which expert reaches which item, ``(N, E)`` bool; all of them through a blend."""
        shape = (self.num_items, self.num_experts)
        if self.blend is not None:
            real = self.mask if self.mask is not None else self.item.new_ones(shape[0]).bool()
            return real.unsqueeze(1).expand(shape)
        grid = torch.zeros(shape, dtype=torch.bool, device=self.item.device)
        grid[self.item, self.expert] = True
        return grid

    @cached_property
    def taken(self) -> Tensor:
        """Which of the experts that ``probs`` is of reach the item, in its shape, bool.

        A candidate that an item has more than once counts at its first place alone.
        """
        if self.candidates is None:
            return self.chosen
        first = torch.arange(self.num_items, device=self.item.device).unsqueeze(1)
        pair = self.item * self.num_experts + self.expert
        reached = torch.isin(first * self.num_experts + self.candidates, pair)
        return reached & _first_of_each(self.candidates)


def _first_of_each(values: Tensor) -> Tensor:
    """Where a row of ``(N, S)`` holds a value for the first time, bool."""
    values, order = values.sort(dim=-1, stable=True)
    new = F.pad(values.diff(dim=-1) > 0, (1, 0), value=True)
    return torch.empty_like(new).scatter(1, order, new)


def _scattered(index: Tensor, values: Tensor, size: int) -> Tensor:
    """Sums of ``values`` ``(A,)`` by ``index`` ``(A,)``, ``(size,)``."""
    return values.new_zeros(size).index_add(0, index, values)


@torch.no_grad()
def _in_whole_rows(mass: Tensor, total: Tensor) -> Tensor:
    """ExpertStatistics ``(E,)`` of ``total`` rows, by largest remainder; int64."""
    exact = mass.double() / mass.double().sum().clamp_min(torch.finfo(mass.dtype).tiny) * total
    whole = exact.floor()
    rank = (whole - exact).argsort(stable=True).argsort()
    return (whole + (rank < total - whole.sum())).long()
