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


def own_claim() -> dict[str, Any]:
    """This process, so that another one can tell whether it still lives."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "start": start_time(pid)}


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None for one that is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in ("Z", "X") else int(fields[19])


class Witness:
    """Tells dead workers from living ones.

    On this host a process is alive if its number and start time are. Of one elsewhere only
    its marks are seen: by this host's clock, so that clocks need not agree.

    Args:
        grace: seconds without a new mark after which a worker elsewhere is dead.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self.grace = grace
        self._seen: dict[tuple[str, int], tuple[Any, float]] = {}

    def dead(self, study: str, number: int, attrs: Mapping[str, Any]) -> bool:
        """Whether nobody works on a running trial any more; to be asked by who holds the lock.

        A trial is taken and claimed under the same lock: one that runs without a claim is of a
        process that was killed between the two.
        """
        claim = attrs.get("claim")
        if claim is None:
            return True
        if claim["host"] == socket.gethostname():
            return start_time(claim["pid"]) != claim["start"] or claim["start"] is None
        mark = (claim, attrs.get("beat"))
        known, since = self._seen.get((study, number), (None, 0.0))
        if known != mark:
            self._seen[study, number] = (mark, time.monotonic())
            return False
        return time.monotonic() - since > self.grace
