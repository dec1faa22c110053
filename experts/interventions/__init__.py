"""Interventions: changes of what a layer does while a network runs, one file each."""

from routers.plugins import import_parts

from ._base import INTERVENTIONS, Change, Intervention, intervene
from .drop import drop_experts, leave_out

import_parts(__name__, __path__)

__all__ = [
    "INTERVENTIONS",
    "Change",
    "Intervention",
    "drop_experts",
    "intervene",
    "leave_out",
]
