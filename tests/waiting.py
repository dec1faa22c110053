"""Waiting for other processes, with a bound that only a hang reaches."""

import time
from collections.abc import Callable

#: Seconds after which a test fails that waits: machines differ in speed by a factor of ten.
HANG_SECONDS = 600


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + HANG_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
