"""Saturation: how far the routes of earlier checkpoints are those of the last one."""

from collections.abc import Sequence

from .churn import churn
from .routes import Matrix


def saturation(checkpoints: Sequence[Matrix]) -> list[float]:
    """Mean share of the last checkpoint's experts that each checkpoint's items have; the last is 1.

    Each is ``(N, E)`` on the same items. For ``k`` experts per item it is the router saturation of
    Muennighoff et al. 2024, 2409.02060, section 5.1: ``sum_i |E_i(t) & E_i(T)| / (N k)``.

    >>> saturation([[[1, 0], [1, 0]], [[0, 1], [1, 0]]])
    [0.5, 1.0]
    """
    return [1 - churn(each, checkpoints[-1]) for each in checkpoints]
