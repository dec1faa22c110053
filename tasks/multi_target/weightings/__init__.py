"""Loss weightings of several targets: ``task.weighting`` names one of these files."""

from routers.plugins import import_parts

from ._base import WEIGHTINGS, Weighting

import_parts(__name__, __path__)

__all__ = ["WEIGHTINGS", "Weighting"]
