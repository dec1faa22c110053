"""Images with their patches in the colours of experts."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ._base import Experts, Picture, css_class, words

#: Left, top, width and height of a patch, in pixels.
Box = tuple[int, int, int, int]


class ImagePicture(Picture):
    """An image with a rectangle for each patch and the number of its heaviest expert.

    Args:
        pixels: ``(C, H, W)`` in [0, 1], gray or in colour.
        boxes: of the patches in the order in which they are routed.
    """

    def __init__(self, pixels: Tensor, boxes: Sequence[Box] = ()) -> None:
        self.pixels = pixels
        self.boxes = boxes

    def html(self, experts: Experts) -> str:
        height, width = self.pixels.shape[1:]
        boxes = self.boxes if len(experts) == len(self.boxes) else [(0, 0, width, height)]
        place = f'width="{width}" height="{height}"'
        marks = "".join(_mark(box, each) for box, each in zip(boxes, experts, strict=True))
        return (
            f'<svg class="image" viewBox="0 0 {width} {height}" role="img">'
            f'<image href="{png(self.pixels)}" {place}/>{marks}</svg>'
        )


def _mark(box: Box, experts: Sequence[int]) -> str:
    left, top, width, height = box
    number = experts[0] if experts else "-"
    size = min(width, height) / 2.2
    middle = f'x="{left + width / 2:g}" y="{top + height / 2:g}" font-size="{size:.2f}"'
    return (
        f'<g class="{css_class(experts)}"><title>{words(experts)}</title>'
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}"/>'
        f"<text {middle}>{number}</text></g>"
    )


def png(pixels: Tensor) -> str:
    """A PNG file of an image as a ``data:`` address.

    >>> import torch
    >>> png(torch.zeros(1, 2, 2))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    from PIL import Image  # of the extra data, as Parquet is

    shown = pixels[:3] if len(pixels) >= 3 else pixels.mean(0, keepdim=True).expand(3, -1, -1)
    array = (shown.detach().cpu().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array.numpy())).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
