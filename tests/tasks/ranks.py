"""Processes of runs on several devices, as the system sees them."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def ranks_of(folder: Path) -> list[int]:
    """Processes of the ranks of a run, or of all runs under a folder, lower ranks first."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except (OSError, UnicodeDecodeError):  # not a process, or gone
            continue
        if "tasks.running.ddp_worker" in words:
            job = json.loads(words[words.index("tasks.running.ddp_worker") + 1])
            if job["folder"].startswith(str(folder)):
                found.append((job["rank"], int(entry.name)))
    return [process for _, process in sorted(found)]


@contextmanager
def no_ranks_left(folder: Path) -> Iterator[None]:
    """In the end, whatever happens, no rank of a run under a folder is left."""
    try:
        yield
    finally:
        for process in ranks_of(folder):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def until(found: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something; the bound is there only so that a hang ends."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)
