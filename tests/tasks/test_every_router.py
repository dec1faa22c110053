"""Every registered router trains on digits; a new file under ``routers/`` is tried unasked."""

import math

import pytest

import routers
from tasks import TASKS, main

from .cases import NARROW, ROUTERS, TINY, result_of, train

#: One layer, few steps, and few batches to evaluate.
BRIEF = ("task.model.depth=1", "trainer.max_steps=2", "trainer.batch_size=256")


@pytest.mark.parametrize("router", routers.available())
def test_trains_or_says_why_not(tmp_path, capsys, router):
    """What a router reads and digits do not have is named before anything trains."""
    digits, traits = TASKS.get_part("digits"), routers.ROUTERS.get_part(router).traits
    command = [f"router={router}", "moe.capacity=1.0", *BRIEF]
    missing = [
        what
        for what, needed, given in (
            ("ids", traits.needs_ids, digits.has_ids),
            ("task", traits.needs_task, digits.has_tasks),
            ("router.of is missing", traits.needs_recorded, False),
        )
        if needed and not given
    ]
    assert (router in ROUTERS) == (not missing)
    if missing:
        assert main([*TINY, NARROW, f"out={tmp_path / 'run'}", *command]) == 2
        said = capsys.readouterr().err
        assert f"router={router}: needs" in said
        assert all(what in said for what in missing)
        assert not (tmp_path / "run").exists()
        return
    train(tmp_path / "run", *command)
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
    result = train(tmp_path / "run", f"trainer.precision={precision}", *BRIEF)
    assert 0 <= result["score"]["value"] <= 1
