"""Tests of my_metric: run pytest in the folder that holds both files."""

import json
from pathlib import Path

from routers.conformance import check_metric
from tasks import main


def test_keeps_the_contract() -> None:
    check_metric("my_metric:MyMetric")


def test_is_in_the_result(tmp_path: Path) -> None:
    brief = ["trainer.max_steps=2", "trainer.progress=false"]
    assert main(["task=planted", "plugins=[my_metric]", *brief, f"out={tmp_path / 'run'}"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 0 < result["load"]["my_metric"] <= 1
