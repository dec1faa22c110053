"""Items of routers that several layers hold, or that are one of several rounds."""

import torch

from tasks.routes.collection import routed_items

from ..assembly.test_places import network


def test_items_are_kept_by_layer():
    batch = {"x": torch.randn(3, 1, 8, 8)}
    for settings in ("moe.share_router=2", "moe.rounds=2"):
        built = network(settings, depth=2)
        with routed_items(built) as kept:
            built(batch)
        assert list(kept) == ["blocks.0.moe", "blocks.1.moe"]
        assert not kept["blocks.0.moe"].x.equal(kept["blocks.1.moe"].x)
