import pytest
import torch


@pytest.fixture
def unpadded(monkeypatch):
    """No rows of padding, so that what ran is what was useful."""
    monkeypatch.setattr("experts.kernels.layouts.base_rows", lambda *given: 0)


@pytest.fixture
def double():
    """Float64 by default, for comparisons to the last digits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
