"""One process at a time in what must not be done twice."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

#: What is done while it is held, is done by one process at a time. Who holds it may not take it
#: again.
Lock = Callable[[], AbstractContextManager[None]]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait for a lock; the system lets go of it however this process ends."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
