"""Pictures of samples for pages, with a colour for the expert of each routed item."""

from ._base import Picture
from .image import ImagePicture
from .text import TextPicture

__all__ = ["ImagePicture", "Picture", "TextPicture"]
