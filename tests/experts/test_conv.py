"""Conv experts take images as they lie in memory, and hand them back that way."""

import pytest
import torch
from torch.nn import functional as F

from experts import mix, mix_reference
from routers import Items, Routing

from .cases import DIM, EXPERTS, bank_of

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def routed(images, tasks=()):
    """Two experts for each image, drawn once."""
    torch.manual_seed(3)
    pairs = torch.stack([torch.randperm(EXPERTS)[:2] for _ in images])
    weight = torch.rand(len(images), 2, *tasks)
    return Routing.by_item(Items(images.mean((2, 3))), pairs, weight, EXPERTS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tasks", [(), (3,)])
@pytest.mark.parametrize("size", [(4, 6), (1, 1), (5, 1)])
def test_any_layout_gives_the_reference(double, layout, tasks, size):
    bank = bank_of("conv", hidden=5)
    torch.manual_seed(2)
    base = torch.randn(7, DIM, *size)
    results = []
    for run, order in ((mix, layout), (mix_reference, torch.contiguous_format)):
        x = base.clone(memory_format=order)
        x.requires_grad_()
        y = run(x, routed(x.detach(), tasks), bank)
        y.square().sum().backward()
        results.append([y, x.grad, *(p.grad.clone() for p in bank.parameters())])
        bank.zero_grad()
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_stay_last(monkeypatch, dtype):
    """No convolution of a layer is given images in another layout than the layer was."""
    seen = []
    conv2d = F.conv2d

    def noting(x, *args, **kwargs):
        seen.append(x)
        return conv2d(x, *args, **kwargs)

    monkeypatch.setattr(F, "conv2d", noting)
    bank = bank_of("conv").to(dtype)
    x = torch.randn(6, DIM, 4, 4, dtype=dtype).contiguous(memory_format=torch.channels_last)
    y = mix(x, routed(x), bank)
    assert len(seen) == 2 * EXPERTS
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in (*seen, y))


def test_no_images(double):
    bank = bank_of("conv")
    x = torch.zeros(0, DIM, 4, 4)
    routing = Routing.by_item(
        Items(x.mean((2, 3))), torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1), EXPERTS
    )
    assert mix(x, routing, bank).shape == (0, DIM, 4, 4)
