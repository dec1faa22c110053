"""Distance of the rows of a linear gate from orthonormal ones."""

import torch
from torch import Tensor

from ..routing.routing import Routing
from ._base import LOSSES, RoutedLayer, rows_of


@LOSSES.register("simbal")
def simbal(routing: Routing, layer: RoutedLayer, /) -> Tensor:
    """``||R R^T - I||_1`` of the gate's rows ``R`` ``(E, D)`` (SimBal); 0 if they are orthonormal.

    Such a gate preserves angles between items: similar items have similar scores. The norm is the
    sum over all ``E^2`` entries. Only routers with a linear gate have rows; the mean over gates,
    where a layer has several. It reads no item, so it needs no batch to be balanced.

    Source: Omi et al. 2025, 2506.14038.

    >>> from types import SimpleNamespace
    >>> from routers import Items, build
    >>> router = build("topk", 2, 2, k=2)
    >>> _ = router.gate.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.5, 1.0]]))
    >>> layer = SimpleNamespace(router=router)
    >>> simbal(router(torch.zeros(1, 2)), layer).item()  # R R^T is [[1, 0.5], [0.5, 1.25]]
    1.25
    """
    found = [
        (rows @ rows.t() - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)).abs().sum()
        for rows, _ in rows_of(layer, "simbal")
    ]
    return torch.stack(found).mean()
