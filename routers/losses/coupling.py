"""Agreement of the rows of a gate with the experts that they stand for."""

import torch
from torch import Tensor

from ..plugins.errors import OptionError
from ..routing.routing import Routing
from ._base import LOSSES, RoutedLayer, projections_of, rows_of


@LOSSES.register("coupling")
def coupling(routing: Routing, layer: RoutedLayer, /, *, alpha: float = 1.0) -> Tensor:
    """Expert-router coupling (ERC): expert ``e`` responds most to row ``e`` of the gate; 0 at best.

    ``sum_{i != j} (max(M_ij - alpha M_ii, 0) + max(M_ji - alpha M_ii, 0)) / E^2`` where
    ``M_ij = ||r_i P_j||`` is how strongly expert ``j``, by its first projection ``P_j``, responds
    to row ``i``. So each row stands for the items of its expert, and each expert is for its row.
    In training a row is multiplied by uniform noise in ``[1 - n_i, 1 + n_i]``, where ``n_i`` is
    half the distance to the nearest other row over the length of row ``i``, without a gradient.
    It costs ``2 E^2 D P`` FLOPs for any number of items. The mean over gates, where a layer has
    several.

    Source: Lv et al. 2025, 2512.23447, which takes the gate matrix of a SwiGLU for ``P``.

    Args:
        alpha: how strong another response may be, as a share of that of the pair; in [0, 1].

    >>> from types import SimpleNamespace
    >>> from routers import Items, build
    >>> router = build("topk", 2, 2, k=2).eval()
    >>> _ = router.gate.weight.data.copy_(torch.eye(2))
    >>> bank = SimpleNamespace(projections=lambda: torch.tensor([[[2.0], [3.0]], [[0.0], [4.0]]]))
    >>> layer = SimpleNamespace(router=router, bank=bank)
    >>> coupling(router(torch.zeros(1, 2)), layer).item()  # M is [[2, 0], [3, 4]]: 3 - 2
    0.25
    """
    if not 0 <= alpha <= 1:
        raise OptionError("losses.coupling.alpha", alpha, "a number in [0, 1]")
    projections = projections_of(layer, "coupling")
    found = []
    for rows, experts in rows_of(layer, "coupling"):
        if layer.router.training:
            rows = rows * (1 + _reach(rows.detach()) * (2 * torch.rand_like(rows) - 1))
        response = torch.einsum("id,jdp->ijp", rows, projections[list(experts)]).norm(dim=2)
        least = alpha * response.diagonal()
        excess = (response - least.unsqueeze(1)).relu() + (response - least).relu()
        apart = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        found.append((excess * apart).sum() / len(rows) ** 2)
    return torch.stack(found).mean()


def _reach(rows: Tensor) -> Tensor:
    """Half of each row's distance to the nearest other, relative to its length, ``(E, 1)``."""
    distance = (rows.unsqueeze(1) - rows).norm(dim=2)
    distance.fill_diagonal_(torch.inf if len(rows) > 1 else 0.0)
    length = rows.norm(dim=1).clamp_min(torch.finfo(rows.dtype).tiny)
    return (distance.amin(1) / (2 * length)).unsqueeze(1)
