"""Errors of threads that the main thread raises again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def raised_once() -> Iterator[None]:
    """Print no traceback for an error that a thread keeps as its ``exception``.

    The thread that writes for TensorBoard does: the next write of the main thread raises it.
    """
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if getattr(args.thread, "exception", None) is not args.exc_value:
            before(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
