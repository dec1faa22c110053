"""Tests of my_loss: run pytest in the folder that holds both files."""

from pathlib import Path

from routers.conformance import check_loss
from tasks import main


def test_keeps_the_contract() -> None:
    check_loss("my_loss:my_loss")


def test_trains(tmp_path: Path) -> None:
    parts = ["task=planted", "losses.my_loss={weight: 0.01, level: step}", "plugins=[my_loss]"]
    brief = ["trainer.max_steps=2", "trainer.progress=false"]
    assert main([*parts, *brief, f"out={tmp_path / 'run'}"]) == 0
