"""File locks: the operating system releases them however the process that holds one ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file in the context, which one process at a time can enter.

    Args:
        path: the lock file, created if it is missing and never removed on Unix.
        wait: whether to wait for another holder; otherwise it raises ``BlockingIOError``.
    """
    if find_spec("fcntl") is None:  # on Windows
        with _without_fcntl(path, wait):
            yield
        return
    import fcntl

    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


@contextmanager
def _without_fcntl(path: Path, wait: bool) -> Iterator[None]:
    """The lock of the library ``filelock``; it polls, and releases a lock for all processes."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout as error:
        raise BlockingIOError(str(error)) from error
    try:
        yield
    finally:
        lock.release()
