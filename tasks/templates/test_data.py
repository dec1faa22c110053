"""Tests of my_data: run pytest in the folder that holds both files."""

from pathlib import Path

from tasks import main
from tasks.conformance import check_task

PARTS = ["plugins=[my_data]", "task.data=my_data", "task.data.number=200"]


def test_keeps_the_contract() -> None:
    check_task("image", *PARTS)


def test_trains(tmp_path: Path) -> None:
    brief = ["task.model.dim=16", "trainer.max_steps=2", "trainer.progress=false"]
    assert main(["task=image", *PARTS, *brief, f"out={tmp_path / 'run'}"]) == 0
