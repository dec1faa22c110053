"""Tests of my_backbone: run pytest in the folder that holds both files."""

from pathlib import Path

from tasks import main
from tasks.conformance import check_task

PARTS = ["plugins=[my_backbone]", "task.model=my_backbone"]


def test_keeps_the_contract() -> None:
    check_task("digits", *PARTS)


def test_trains(tmp_path: Path) -> None:
    brief = ["task.model.dim=16", "trainer.max_steps=2", "trainer.progress=false"]
    assert main(["task=digits", *PARTS, *brief, f"out={tmp_path / 'run'}"]) == 0
