"""Who works on a trial, and whether they still live."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: A trial is marked as worked on this often.
BEAT_SECONDS = 15.0

#: A worker elsewhere that has not marked its trial for so long is dead.
GRACE_SECONDS = 180.0

#: A name for this machine, in place of one that it finds.
MACHINE = "SWITCHYARD_MACHINE"


def machine() -> str:
    """Where numbers of processes mean the same: a host since its start, or a container on it.

    Hosts may share a name and containers a kernel, so both are part of it.
    """
    named = os.environ.get(MACHINE)
    return named or " ".join([socket.gethostname(), _kernel_start(), _process_space()])


def _kernel_start() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "?"


def _process_space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return "?"


def worker_identity() -> dict[str, Any]:
    """This process, so that another one can tell whether it still lives."""
    pid = os.getpid()
    return {"host": machine(), "pid": pid, "start": start_time(pid)}


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in ("Z", "X") else int(fields[19])


class LivenessMonitor:
    """Tells dead workers from living ones.

    On this machine a process is alive if its number and start time are. Of one elsewhere only
    its marks are seen: by this machine's clock, so that clocks need not agree.

    Args:
        grace: seconds without a new mark after which a worker elsewhere is dead.
    """

    def __init__(self, grace: float | None = None) -> None:
        self.grace = GRACE_SECONDS if grace is None else grace
        self._seen: dict[tuple[str, int], tuple[Any, float]] = {}

    def dead(self, study: str, number: int, claim: Mapping[str, Any] | None, mark: Any) -> bool:
        """Whether nobody works on a running trial any more.

        Args:
            study: of the trial.
            number: of the trial.
            claim: of who works on it; None where that is not known, and only marks tell.
            mark: what changes while it is worked on.
        """
        if claim is not None and claim["host"] == machine() and claim["start"] is not None:
            return start_time(claim["pid"]) != claim["start"]
        now = (claim, mark)
        known, since = self._seen.get((study, number), (None, 0.0))
        if known != now:
            self._seen[study, number] = (now, time.monotonic())
            return False
        return time.monotonic() - since > self.grace
