"""Random variants of training images: ``task.augmentation`` names one of these files."""

from routers.plugins import import_parts

from ._base import AUGMENTATIONS, Augmentation

import_parts(__name__, __path__)

__all__ = ["AUGMENTATIONS", "Augmentation"]
