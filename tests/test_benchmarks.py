"""Scripts under benchmarks/ run from their own folder."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_script_hides_no_module(path):
    """A script's folder comes first on the path: ``lightning.py`` would hide the package."""
    assert importlib.util.find_spec(path.stem) is None
