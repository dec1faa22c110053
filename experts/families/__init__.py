"""Families of pretrained MoE blocks, one file each: read as layers, and written back."""

from routers.plugins import import_parts

from ._base import FAMILIES, Family, Layout, Plan, Weights
from .convert import from_transformers, to_transformers
from .model import RoutedBlock, model_from_transformers, model_to_transformers

import_parts(__name__, __path__)

__all__ = [
    "FAMILIES",
    "Family",
    "Layout",
    "Plan",
    "RoutedBlock",
    "Weights",
    "from_transformers",
    "model_from_transformers",
    "model_to_transformers",
    "to_transformers",
]
