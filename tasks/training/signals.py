"""Signals that ask a run to stop."""

import signal
from types import FrameType
from typing import Any


class StoppedError(Exception):
    """A signal asked the run to stop, and a checkpoint was written."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    def __str__(self) -> str:
        return signal.Signals(self.signum).name


class Stop:
    """A source of requests to stop a run."""

    def __init__(self) -> None:
        self.signum: int | None = None  #: the signal that requested the stop, if any did

    def listen(self) -> None:
        """Start listening, until ``uninstall``; a second call has no effect."""

    def uninstall(self) -> None:
        """Restore the previous signal handlers."""


#: Signals that ask to stop: of a person, of a system that shuts down, and of a cluster whose time
#: limit is near. Windows has only the first two.
STOP_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]


class Signals(Stop):
    """`STOP_SIGNALS` to this process; after any of them, SIGINT ends it at once."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        for signum in {*STOP_SIGNALS} - self._before.keys():
            self._before[signum] = signal.signal(signum, self._ask)

    def uninstall(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum = signum
        elif signum == signal.SIGINT:  # clusters repeat the others, to each process of a job
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
