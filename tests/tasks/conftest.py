from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def plugins_on_path(monkeypatch):
    """``spare_parts:Class`` names a part, as if it were installed."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "plugins")
