"""The lock of a sweep's folder: one process drives a sweep."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from routers import ConfigError
from tasks import read_json, write_json

#: The lock file, which is free however its holder ended, and the file that names the holder.
LOCK, HOLDER = "lock", "driver.json"


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Hold the lock of a sweep's folder in the context.

    Raises:
        ConfigError: if another process holds it, with its host and its process id.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = "another process"
        with suppress(OSError, ValueError, LookupError):  # it has just started
            who = "process {pid} on {host}".format(**read_json(folder / HOLDER))
        cure = "wait for it or end it, or choose another out"
        raise ConfigError(f"out={folder}: {who} drives this sweep; {cure}") from error
    try:
        write_json(folder / HOLDER, {"host": socket.gethostname(), "pid": os.getpid()})
        yield
    finally:
        lock.release()


def check_free(folder: Path) -> None:
    """Raise ``ConfigError`` if another process drives a sweep in a folder."""
    if (folder / LOCK).exists():
        with driving(folder):
            pass
