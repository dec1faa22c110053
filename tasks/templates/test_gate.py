"""Tests of my_gate: run pytest in the folder that holds both files."""

from pathlib import Path

from routers.conformance import check_gate
from tasks import main


def test_keeps_the_contract() -> None:
    check_gate("my_gate:MyGate")


def test_trains(tmp_path: Path) -> None:
    parts = ["task=planted", "router=topk", "router.gate=my_gate", "plugins=[my_gate]"]
    brief = ["trainer.max_steps=2", "trainer.progress=false"]
    assert main([*parts, *brief, f"out={tmp_path / 'run'}"]) == 0
