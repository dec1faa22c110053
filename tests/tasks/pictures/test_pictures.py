"""Pictures of samples: which characters and which pixels have which expert."""

import base64
import io
import re

import numpy as np
import pytest
import torch

from tasks.backbones import patch_boxes, patches
from tasks.pictures import ImagePicture, TextPicture

SPAN = re.compile(r'<span class="(\w+)" title="([^"]*)">([^<]*)</span>')


def test_characters_have_the_experts_of_their_first_byte():
    text = "aé<\n".encode() + b"\xff"
    experts = [[1, 0], [2], [3], [2], [], [0]]
    shown = SPAN.findall(TextPicture(text).html(experts))
    assert shown == [
        ("e1", "experts 1, 0", "a"),
        ("e2", "expert 2", "é&lt;"),
        ("none", "no expert", "↵\n"),
        ("e0", "expert 0", "\ufffd"),
    ]


def test_a_whole_text_of_one_expert():
    assert SPAN.findall(TextPicture(b"abc").html([[4]])) == [("e4", "expert 4", "abc")]


@pytest.mark.parametrize(("size", "overlap"), [(4, 0), (4, 2), (3, 0), (8, 4)])
def test_boxes_of_patches_cover_the_image_once(size, overlap):
    """The box of a patch holds pixels that the patch has, in the same order."""
    height, width = 8, 10
    image = torch.arange(1.0, height * width + 1).view(1, 1, height, width)
    tiles = patches(image, size, overlap)[0]
    boxes = patch_boxes(height, width, size, overlap)
    covered = torch.zeros(height, width)
    assert len(boxes) == len(tiles)
    for (left, top, wide, high), tile in zip(boxes, tiles, strict=True):
        inside = image[0, 0, top : top + high, left : left + wide]
        assert set(inside.flatten().tolist()) <= set(tile.flatten().tolist())
        covered[top : top + high, left : left + wide] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pixels_of_an_image(channels):
    image = pytest.importorskip("PIL.Image")
    pixels = torch.rand(channels, 4, 6)
    html = ImagePicture(pixels).html([[2, 1]])
    (code,) = re.findall(r'href="data:image/png;base64,([^"]+)"', html)
    shown = np.asarray(image.open(io.BytesIO(base64.b64decode(code)))) / 255
    expected = pixels.expand(3, 4, 6).permute(1, 2, 0)
    np.testing.assert_allclose(shown, expected, atol=0.003)
    assert '<rect x="0" y="0" width="6" height="4"/>' in html
    assert '<g class="e2"><title>experts 2, 1</title>' in html


def test_every_patch_has_its_expert():
    boxes = patch_boxes(4, 4, 2)
    html = ImagePicture(torch.zeros(1, 4, 4), boxes).html([[0], [1], [], [3]])
    assert re.findall(r'<g class="(\w+)">', html) == ["e0", "e1", "none", "e3"]
    assert re.findall(r'<rect x="(\d)" y="(\d)"', html) == [
        ("0", "0"),
        ("2", "0"),
        ("0", "2"),
        ("2", "2"),
    ]
