"""Settings of the C library's allocator for training on a CPU."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of glibc's mallopt(3)
_NEVER = 2**31 - 1


def tune_allocator() -> bool:
    """Make the C library keep freed memory instead of returning it to the system.

    By default every tensor of more than 32 MiB gets fresh pages, each zeroed by the system at
    first touch, which can cost more than the work on them. The setting is permanent for the
    whole process, whose memory use then stays at its peak. No import calls this function.

    Returns:
        Whether it took effect: only glibc has this setting.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, _NEVER)])
