"""What tests of pages leave out."""

import pytest

from sweeps.report.figures import render as rendering
from sweeps.report.figures.render import Drawing


@pytest.fixture(autouse=True)
def no_pdf(monkeypatch):
    """PDF files take half of the time, and one test looks at them."""
    monkeypatch.setattr(rendering, "as_pdf", lambda sheet, title: b"")


@pytest.fixture
def undrawn(monkeypatch):
    """Empty figures, for tests of what is around them."""

    def render(figure, width=None):
        return Drawing(
            figure, ["<svg aria-hidden='true'></svg>"] * len(figure.panels), "<svg/>", b""
        )

    monkeypatch.setattr(rendering, "render", render)
