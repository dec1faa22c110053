"""File lock: mutual exclusion among processes that share a folder."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from tasks import file_lock as file_lock

#: Factory of a context that one process at a time can enter. It is not reentrant.
Lock = Callable[[], AbstractContextManager[object]]
