"""Tests of my_router: run pytest in the folder that holds both files."""

from pathlib import Path

from routers import check_router
from tasks import main


def test_keeps_the_contract() -> None:
    check_router("my_router:MyRouter")


def test_trains(tmp_path: Path) -> None:
    parts = ["task=planted", "router=my_router", "router.k=3", "plugins=[my_router]"]
    brief = ["trainer.max_steps=2", "trainer.progress=false"]
    assert main([*parts, *brief, f"out={tmp_path / 'run'}"]) == 0
