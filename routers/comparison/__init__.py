"""Comparison of routes: between checkpoints, runs, routers, experts, and with labels.

Measures take routes of one layer as ``(N, E)``, an array or a sparse array of SciPy, which is not 0
where the item has the expert. ``Routes.of(routing).chosen`` makes one from routings.
"""

from .churn import changed, churn
from .coactivation import coactivation, pairing
from .disagreement import Disagreement, disagreement
from .information import mutual_information, normalized_mutual_information
from .overlap import overlap
from .routes import Routes, indicator
from .saturation import saturation
from .sensitivity import sensitivity
from .specialization import Specialization, specialization

__all__ = [
    "Disagreement",
    "Routes",
    "Specialization",
    "changed",
    "churn",
    "coactivation",
    "disagreement",
    "indicator",
    "mutual_information",
    "normalized_mutual_information",
    "overlap",
    "pairing",
    "saturation",
    "sensitivity",
    "specialization",
]
