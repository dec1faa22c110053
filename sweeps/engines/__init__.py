"""Engines, which run the trials of a sweep: ``engine`` names one of these files."""

from routers.plugins import import_parts

from ._base import ENGINES, Engine, Handle

import_parts(__name__, __path__)

__all__ = ["ENGINES", "Engine", "Handle"]
