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


class Signals(Stop):
    """SIGINT and SIGTERM to this process; a second signal ends it at once."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        for signum in {signal.SIGINT, signal.SIGTERM} - self._before.keys():
            self._before[signum] = signal.signal(signum, self._ask)

    def uninstall(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        self.signum = signum
