"""Ways to share a network between targets: ``task.sharing`` names one of these files."""

from routers.plugins import import_parts

from ._base import SHARINGS, Parts, Trunk

import_parts(__name__, __path__)

__all__ = ["SHARINGS", "Parts", "Trunk"]
