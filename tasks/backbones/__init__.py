"""Networks with routed layers: ``task.model`` names one of these files."""

from routers.plugins import import_parts

from .._task import BACKBONES
from ._image_ops import content_ids, patch_boxes, patches

import_parts(__name__, __path__)

__all__ = ["BACKBONES", "content_ids", "patch_boxes", "patches"]
