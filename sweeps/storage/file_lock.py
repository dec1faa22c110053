"""File lock: mutual exclusion among processes that share a folder."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

#: Factory of a context that one process at a time can enter. It is not reentrant.
Lock = Callable[[], AbstractContextManager[None]]


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for a lock; the operating system releases it however this process ends."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
