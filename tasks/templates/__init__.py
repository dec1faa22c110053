"""Templates of parts, one file for each kind with a test: what ``python -m tasks new`` writes."""

from ._kinds import KINDS, Kind, class_name, used_names, written

__all__ = ["KINDS", "Kind", "class_name", "used_names", "written"]
