"""Edits: named operations that change a trained network and its configuration, one file each."""

from routers.plugins import import_parts

from ._base import EDITS, Context, Edit, NamedEdit, apply_edits, read_edits

import_parts(__name__, __path__)

__all__ = ["EDITS", "Context", "Edit", "NamedEdit", "apply_edits", "read_edits"]
