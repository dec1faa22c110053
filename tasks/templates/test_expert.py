"""Tests of my_expert: run pytest in the folder that holds both files."""

from pathlib import Path

from experts.conformance import check_bank
from tasks import main


def test_keeps_the_contract() -> None:
    check_bank("my_expert:MyExpert")


def test_trains(tmp_path: Path) -> None:
    parts = ["task=planted", "expert=my_expert", "expert.hidden=8", "plugins=[my_expert]"]
    brief = ["trainer.max_steps=2", "trainer.progress=false"]
    assert main([*parts, *brief, f"out={tmp_path / 'run'}"]) == 0
