"""How long a piece of work takes."""

from collections.abc import Callable, Mapping
from time import perf_counter
from types import MappingProxyType

#: Seconds of a piece of work; None where they say nothing about it.
Clock = Callable[[Callable[[], object]], float | None]

#: Pages the system may hand out within a measurement, 1 MiB of 4 KiB ones.
_PAGES = 256


def plain_clock(wait: Callable[[], None]) -> Clock:
    """A stopwatch; ``wait`` returns when the device has done all it was given."""

    def measure(work: Callable[[], object]) -> float | None:
        wait()
        start = perf_counter()
        work()
        wait()
        return perf_counter() - start

    return measure


def settled_clock(wait: Callable[[], None]) -> Clock:
    """A stopwatch that sets aside what was measured while the heap grew.

    Pages that a process touches for the first time cost more than the work on them. With an
    allocator that keeps what it has, training comes to rest; so has what stands for it.
    """
    import resource  # only where there is a heap to watch: Windows has no such module

    stopwatch = plain_clock(wait)

    def measure(work: Callable[[], object]) -> float | None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        seconds = stopwatch(work)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        return seconds if grown <= _PAGES else None

    return measure


#: By what came of asking for an allocator.
CLOCKS: Mapping[str, Callable[[Callable[[], None]], Clock]] = MappingProxyType(
    {"tuned": settled_clock}
)
