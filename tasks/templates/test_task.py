"""Tests of my_task: run pytest in the folder that holds both files."""

from pathlib import Path

from tasks import main
from tasks.conformance import check_task


def test_keeps_the_contract() -> None:
    check_task("my_task:MyTask")


def test_trains(tmp_path: Path) -> None:
    parts = ["task=my_task", "task.dim=8", "plugins=[my_task]"]
    brief = ["trainer.max_steps=2", "trainer.progress=false"]
    assert main([*parts, *brief, f"out={tmp_path / 'run'}"]) == 0
