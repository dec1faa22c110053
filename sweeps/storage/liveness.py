"""Worker identity and liveness detection for running trials."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Seconds between two heartbeats of a running trial.
HEARTBEAT_SECONDS = 15.0

#: A worker on another host that has sent no heartbeat for this many seconds counts as dead.
GRACE_SECONDS = 180.0

#: Environment variable that replaces the detected host id.
HOST_ID_VARIABLE = "SWITCHYARD_MACHINE"


def host_id() -> str:
    """Identifier of the scope of process ids: a boot of a host, or a container on it.

    Hosts may share a name and containers a kernel, so the identifier has both.
    """
    if override := os.environ.get(HOST_ID_VARIABLE):
        return override
    boot = namespace = "?"
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot} {namespace}"


def worker_identity() -> dict[str, Any]:
    """Identity of this process, by which other processes determine whether it is alive."""
    pid = os.getpid()
    return {"host": host_id(), "pid": pid, "start": start_time(pid)}


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the process name may contain anything
    return None if fields[0] in ("Z", "X") else int(fields[19])


class LivenessMonitor:
    """Detects dead workers.

    On this host a process is alive if its pid and start time match. On other hosts only
    heartbeats are visible; their age is measured by this host's clock, so clocks need not agree.
    After ``grace`` seconds without a new heartbeat, a worker on another host counts as dead.
    """

    def __init__(self, grace: float | None = None) -> None:
        self.grace = GRACE_SECONDS if grace is None else grace
        self._seen: dict[tuple[str, int], tuple[Any, float]] = {}

    def is_dead(
        self, study: str, number: int, claim: Mapping[str, Any] | None, heartbeat: Any
    ) -> bool:
        """Whether the worker of a running trial is dead.

        ``claim`` is the identity of the worker; if it is None (unknown), only heartbeats count.
        ``heartbeat`` is a value that changes while the worker is alive.
        """
        if claim is not None and claim["host"] == host_id() and claim["start"] is not None:
            return start_time(claim["pid"]) != claim["start"]
        now = (claim, heartbeat)
        known, since = self._seen.get((study, number), (None, 0.0))
        if known != now:
            self._seen[study, number] = (now, time.monotonic())
            return False
        return time.monotonic() - since > self.grace
