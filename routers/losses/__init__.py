"""Auxiliary losses: each a function from a routing to a scalar. Padding never counts.

A loss that compares experts has an argument ``level``: ``batch`` compares them over the batch,
``sequence`` over each group of items, then averages over groups, and ``step`` over a whole
optimizer step, all micro-batches and ranks. Losses that are means over items have no level.

A loss with positional-only arguments ``layer`` or ``outputs`` after the routing reads the layer's
router and experts, or what the experts of the assignments returned.

Which suit which router: ``switch``, ``importance``, ``squared_deviation`` and ``diversity`` are
for routers whose items choose experts; where experts choose items or slots (``expert_choice``,
``soft_moe``) the load is even already. ``load`` needs the trait ``expects_load``, ``z`` the trait
``has_logits``, the ``sparsity`` losses ``relu``, the ``selector`` losses ``dselect_k``,
``divergence`` and ``cardinality`` ``dirichlet``, and ``imitation`` a router with a part that
imitates another, such as ``stable``.
"""

from ..plugins.registry import import_parts
from ._base import (
    LOSSES,
    Loss,
    RoutedLayer,
    cv_squared,
    entropies,
    inputs_of,
    levels_of,
    loss_of,
    projections_of,
    rows_of,
)
from ._statistics import BatchLevel, ExpertStatistics, Level, expert_statistics, step_sums
from ._weighted import WeightedLoss, read_losses, written_losses

import_parts(__name__, __path__)

__all__ = [
    "LOSSES",
    "BatchLevel",
    "ExpertStatistics",
    "Level",
    "Loss",
    "RoutedLayer",
    "WeightedLoss",
    "cv_squared",
    "entropies",
    "expert_statistics",
    "inputs_of",
    "levels_of",
    "loss_of",
    "projections_of",
    "read_losses",
    "rows_of",
    "step_sums",
    "written_losses",
]
