"""Pools of documents: sizes, and options that are out of range."""

import pytest
import torch

import routers
from routers import ConfigError, Items


def test_a_document_uses_its_pool_and_documents_differ():
    torch.manual_seed(0)
    router = routers.build("document_pool", 6, 12, k=2, share=0.25).eval()
    centres = 4 * torch.randn(5, 1, 6)
    x = (centres + torch.randn(5, 40, 6)).flatten(0, 1)
    used = router(Items(x, groups=5)).assigned_mask.view(5, 40, 12).any(1)
    assert (used.sum(1) <= 3).all()
    assert len({tuple(row.tolist()) for row in used}) > 1


def test_pools_have_k_experts_or_more():
    router = routers.build("document_pool", 3, 4, k=3, share=0.1).eval()
    routing = router(Items(torch.randn(9, 3)))
    assert routing.load.sum() == 27
    assert routing.weight.min() > 0


@pytest.mark.parametrize(
    "option", [{"smallest": 0.0}, {"largest": 0.1}, {"share": 1.5}, {"k": 13}], ids=str
)
def test_options_are_checked(option):
    with pytest.raises(ConfigError, match=rf"router\.{next(iter(option))}=.* is invalid"):
        routers.build("document_pool", 6, 12, **option)
