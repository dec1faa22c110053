"""Similarity of the outputs of an item's experts."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..routing.routing import Routing
from ._base import LOSSES


@LOSSES.register("output_orthogonality")
def output_orthogonality(routing: Routing, outputs: Tensor, /) -> Tensor:
    """Mean squared cosine of the outputs of two experts of an item; 0 if they are orthogonal.

    The mean over all pairs of experts that work on the same item. An item with one expert has
    none; if all have, the loss is 0.

    Source: the orthogonality term of Guo et al. 2025, 2505.22323, which sums up the projections of
    one output on another. The squared cosine is ours: it does not shrink with the outputs.

    >>> from routers import Items
    >>> items, expert = Items(torch.zeros(1, 1)), torch.tensor([[0, 1]])
    >>> routing = Routing.by_item(items, expert, torch.ones(1, 2), 2)
    >>> output_orthogonality(routing, torch.tensor([[1.0, 0.0], [2.0, 2.0]])).item()
    0.5
    """
    order, first = routing.item_order
    item = routing.item if order is None else routing.item[order]
    outputs = outputs if order is None else outputs[order]
    wide = outputs.flatten(1).to(torch.promote_types(outputs.dtype, torch.float32))
    place = torch.arange(len(item), device=item.device) - first[item]
    most = int(place.max()) + 1 if len(item) else 0
    grid = wide.new_zeros(routing.num_items, most, wide.shape[1])
    grid = grid.index_put((item, place), F.normalize(wide, dim=1))
    squares = (grid @ grid.transpose(1, 2)).square()
    count = torch.bincount(item, minlength=routing.num_items)
    pairs = (count * (count - 1)).sum().clamp_min(1)
    return (squares.sum() - squares.diagonal(dim1=1, dim2=2).sum()) / pairs
