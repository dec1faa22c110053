"""Pages as tests read them, and runs that write none."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ..waiting import HANG_SECONDS

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
#: Text that must not become markup.
NASTY = "<script>alert(1)</script> & \"quoted\" 'too' </style>"
VOID = {"meta", "br", "col", "link", "input", "img", "hr"}


class Page(HTMLParser):
    """Checks nesting while it reads, and keeps what tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append((self.open[-1] if self.open else "", data))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def shown(self) -> str:
        return "".join(data for tag, data in self.text if tag not in ("script", "style"))


def browse(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Open a page in a narrow window: the document, and what the browser logs."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=375,800",
        "--enable-logging=stderr",
        "--virtual-time-budget=2000",
        "--dump-dom",
        page.as_uri(),
    ]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )


def leave_out_reports(patch: pytest.MonkeyPatch) -> None:
    """Leave out what takes longer than a tiny sweep: its tables, and all pages."""
    patch.setattr("sweeps.stages.outputs.write_sweeps", lambda *_: None)
    for name in ("write_pages", "write_suite_pages"):
        patch.setattr(f"sweeps.stages.outputs.{name}", lambda *_: None)
