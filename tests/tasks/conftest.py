from pathlib import Path

import pytest


@pytest.fixture
def unpadded(monkeypatch):
    """No rows of padding, so that what ran is what was useful."""
    monkeypatch.setattr("experts.kernels.layouts.base_rows", lambda *given: 0)


@pytest.fixture(autouse=True)
def plugins_on_path(monkeypatch):
    """``spare_parts:Class`` names a part, as if it were installed."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "plugins")
