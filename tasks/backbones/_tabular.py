"""Tables for networks: a vector for every category, pieces of lines for numbers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._task import Batch


class Numbers(NamedTuple):
    """Statistics of numeric columns in the training split: ``(F,)``, ``(F,)``, ``(F, Q + 1)``."""

    mean: Tensor
    std: Tensor
    edges: Tensor  #: of bins, never falling

    def of(self, columns: Sequence[int]) -> "Numbers":
        """Of some of the columns."""
        return Numbers(*(values[list(columns)] for values in self))


def fit_numbers(x: Tensor, bins: int) -> Numbers:
    """Means, deviations and ``Q`` bins of columns ``(N, F)``, NaN where nothing is.

    The edges are quantiles of the different values: one that most rows have, such as 0, takes
    one edge and not most of them.

    >>> fit_numbers(torch.tensor([[0.0], [0.0], [0.0], [1.0], [8.0]]), bins=2).edges.tolist()
    [[0.0, 1.0, 8.0]]
    """
    mean, std, edges = torch.zeros(x.shape[1]), torch.ones(x.shape[1]), []
    at = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    for index, column in enumerate(x.unbind(1)):
        values = column[~column.isnan()].double()
        if not len(values):
            values = values.new_zeros(1)
        mean[index] = values.mean()
        if (spread := values.std(correction=0)) > 0:
            std[index] = spread
        edges.append(torch.unique(values).quantile(at).float())
    return Numbers(mean, std, torch.stack(edges) if edges else torch.zeros(0, bins + 1))


def encode_numbers(x: Tensor, missing: Tensor, numbers: Numbers) -> Tensor:
    """Numbers as ``(B, F, Q + 2)``: filled part of every bin, standardised value, missing or not.

    A value fills the bins below it with 1, its own in proportion, those above with 0: a linear
    layer then draws any curve with kinks at the edges. All 0 but the last where nothing is.
    Source: Gorishniy et al. 2022, 2203.05556, equation 1.

    ``x`` is ``(B, F)``; where ``missing`` ``(B, F)`` is True its values are not read.

    >>> numbers = fit_numbers(torch.tensor([[0.0], [1.0], [8.0]]), bins=2)
    >>> x, missing = torch.tensor([[4.5], [0.0]]), torch.tensor([[False], [True]])
    >>> encode_numbers(x, missing, numbers)[:, 0, [0, 1, 3]].tolist()
    [[1.0, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    low, high = numbers.edges[:, :-1], numbers.edges[:, 1:]
    width = torch.where(high > low, high - low, torch.inf)
    filled = ((x.unsqueeze(-1) - low) / width).clamp(0, 1)
    standard = ((x - numbers.mean) / numbers.std).clamp(-5, 5).unsqueeze(-1)
    encoded = torch.cat([filled, standard], -1).masked_fill(missing.unsqueeze(-1), 0.0)
    return torch.cat([encoded, missing.unsqueeze(-1).to(encoded.dtype)], -1)


class TableEncoder(nn.Module):
    """Rows to ``(B, D)``: the sum of a vector per column.

    Args:
        categories, numbers: of the columns that are read, number of codes and statistics.
        categorical, numeric: which columns of ``batch["categorical"]`` and ``batch["x"]`` are read.
        dim: ``D``.
        dropout: probability of leaving a column out, in training; 0 leaves all in.
    """

    offsets: Tensor
    mean: Tensor
    std: Tensor
    edges: Tensor

    def __init__(
        self,
        categories: Sequence[int],
        numbers: Numbers,
        *,
        categorical: Sequence[int],
        numeric: Sequence[int],
        dim: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.categorical = list(categorical)
        self.numeric = list(numeric)
        self.dropout = dropout
        starts = torch.tensor([0, *categories], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", starts[:-1])
        for name, values in numbers._asdict().items():
            self.register_buffer(name, values)
        pieces = numbers.edges.shape[1] + 1
        self.codes = nn.Parameter(torch.randn(int(starts[-1]), dim) * len(self) ** -0.5)
        self.lines = nn.Parameter(
            torch.randn(len(self.numeric), pieces, dim) * (len(self) * pieces) ** -0.5
        )
        self.bias = nn.Parameter(torch.zeros(dim))

    def __len__(self) -> int:
        """Number of columns."""
        return len(self.categorical) + len(self.numeric)

    def forward(self, batch: Batch) -> Tensor:
        """Columns ``categorical`` int64, ``x`` and ``missing`` bool of a batch to ``(B, D)``."""
        codes = batch["categorical"][:, self.categorical] + self.offsets
        pieces = encode_numbers(
            batch["x"][:, self.numeric],
            batch["missing"][:, self.numeric],
            Numbers(self.mean, self.std, self.edges),
        )
        stays = F.dropout(self.bias.new_ones(len(codes), len(self)), self.dropout, self.training)
        of_codes, of_lines = stays[:, : codes.shape[1]], stays[:, codes.shape[1] :]
        starts = torch.arange(len(codes), device=codes.device) * codes.shape[1]
        flat, stay = codes.flatten(), of_codes.flatten()
        # starts are given, so that there may be no categorical column at all
        x = F.embedding_bag(flat, self.codes, starts, mode="sum", per_sample_weights=stay)
        pieces = pieces.to(x.dtype) * of_lines.unsqueeze(-1).to(x.dtype)
        return x + self.bias + pieces.flatten(1) @ self.lines.flatten(0, 1)


class ViewsEncoder(nn.Module):
    """A representation per view, by its encoder, and the sum of all last, ``(V + 1, B, D)``."""

    def __init__(self, views: Sequence[nn.Module]) -> None:
        super().__init__()
        self.views = nn.ModuleList(views)

    def forward(self, batch: Batch) -> Tensor:
        x = torch.stack([view(batch) for view in self.views])
        return torch.cat([x, x.sum(0, keepdim=True)])
