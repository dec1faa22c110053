"""Every registered router trains on digits; a new file under ``routers/`` is tried unasked."""

import math

import pytest

from tasks import tasks

from .cases import ROUTERS, result_of, train


@pytest.mark.parametrize("router", ROUTERS)
@pytest.mark.parametrize("limit", ["moe.capacity=null", "moe.capacity=1.0"])
def test_trains(tmp_path, router, limit):
    assert tasks.get_part("digits").has_ids  # so there is no router it could not take
    train(tmp_path / "run", f"router={router}", limit, "trainer.max_steps=3")
    result = result_of(tmp_path / "run")
    assert result["router"] == router
    assert 0 <= result["score"]["value"] <= 1
    for layer in result["layers"]:
        assert sum(layer["load"]) > 0
        assert 0 <= layer["dropped"] < 1
        assert 0 <= layer["entropy"] <= 1
        assert all(math.isfinite(v) for v in layer.values() if isinstance(v, float))


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed", "bf16-true"])
def test_precision(tmp_path, precision):
    result = train(tmp_path / "run", f"trainer.precision={precision}", "trainer.max_steps=3")
    assert 0 <= result["score"]["value"] <= 1
