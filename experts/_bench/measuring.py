"""Time and memory of candidates: interleaved rounds, and the peak of one step."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from .candidates import Candidate

WARMUP_ROUNDS = 8  # the heap is still growing during these
SLOW_ROUNDS = 3  # measured rounds of a candidate slower than its patience
SLOW_WARMUP_ROUNDS = 2  # its warm-up rounds; the first may include one-time initialization
MAX_ROUNDS_FACTOR = 4  # limit on rounds, as a multiple of those asked for, if some are discarded

_MAX_PAGE_FAULTS = 256  # per timed call: 1 MiB of 4 KiB pages

#: Returns the duration of a call in seconds, or None to discard the measurement.
Clock = Callable[[Callable[[], object]], float | None]


@dataclass
class Timings:
    """Seconds of each measured round: forward and backward (``step``), and ``forward`` alone.

    ``discarded`` counts rounds the clock rejected; ``error`` is why a candidate stopped early.
    """

    step: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    discarded: int = 0
    error: str | None = None


def wall_clock(synchronize: Callable[[], None]) -> Clock:
    """A clock of wall time; ``synchronize`` blocks until the device is idle."""

    def measure(work: Callable[[], object]) -> float | None:
        synchronize()
        start = perf_counter()
        work()
        synchronize()
        return perf_counter() - start

    return measure


def stable_heap_clock(synchronize: Callable[[], None]) -> Clock:
    """A wall clock that discards measurements during which the heap grew.

    First access to a page costs more than the computation on it. With an allocator that keeps
    freed memory, training reaches a state without page faults; only that state is measured.
    """
    import resource  # not available on Windows, where the allocator cannot be tuned either

    clock = wall_clock(synchronize)

    def measure(work: Callable[[], object]) -> float | None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        seconds = clock(work)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        return seconds if faults <= _MAX_PAGE_FAULTS else None

    return measure


def benchmark(
    candidates: Mapping[str, Candidate],
    draw: Callable[[], Tensor],
    gradient: Tensor,
    rounds: int,
    clock: Clock,
) -> dict[str, Timings]:
    """Time all candidates by name in the same rounds, after warm-up.

    ``draw`` returns a fresh batch ``(N, D)`` for each round; ``gradient`` ``(N, D)`` of the output
    is the same in all of them. An exception of a candidate is recorded in its ``error``.
    """

    def run(names: Sequence[str], rounds: int, limit: int, slow_rounds: int) -> dict[str, Timings]:
        """Run until each candidate has ``rounds`` valid rounds, at most ``limit`` in total."""
        timings = {name: Timings() for name in names}
        for number in range(limit):
            active = [n for n in names if _is_active(candidates[n], timings[n], slow_rounds)]
            if all(len(timings[name].step) >= rounds for name in active):
                break
            batch = draw()
            for name in rotate(active, number):
                _time_round(candidates[name], timings[name], batch, gradient, clock)
        return timings

    warmup = run(list(candidates), WARMUP_ROUNDS, WARMUP_ROUNDS, SLOW_WARMUP_ROUNDS)
    working = [name for name in candidates if warmup[name].error is None]
    measured = run(working, rounds, MAX_ROUNDS_FACTOR * rounds, SLOW_ROUNDS)
    for timings in measured.values():
        if timings.error is None and not timings.step:
            timings.error = "failed: the heap grew in every round"
    return warmup | measured


def rotate(names: Sequence[str], round_number: int) -> list[str]:
    """Order of the candidates in a round.

    >>> rotate(["a", "b", "c"], 4)
    ['b', 'c', 'a']
    """
    first = round_number % len(names) if names else 0
    return [*names[first:], *names[:first]]


def step(candidate: Candidate, batch: Tensor, gradient: Tensor) -> None:
    """Run one forward and backward pass; ``batch`` requires a gradient."""
    y = candidate.forward(batch)
    y.backward(gradient)  # type: ignore[no-untyped-call]


def failure(error: Exception) -> str:
    """Describe an exception on one line, by its type and the first line of its message."""
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"failed: {type(error).__name__}: {first}"


def _is_active(candidate: Candidate, timings: Timings, slow_rounds: int) -> bool:
    slow = len(timings.step) >= slow_rounds and min(timings.step) > candidate.patience
    return timings.error is None and not slow


def _time_round(
    candidate: Candidate, timings: Timings, batch: Tensor, gradient: Tensor, clock: Clock
) -> None:
    """Time a step and a forward pass; gradients are freed outside the timed calls."""
    batch = candidate.prepare(batch)
    x = batch.detach().requires_grad_()
    try:
        seconds = clock(lambda: step(candidate, x, gradient))
        candidate.module.zero_grad(set_to_none=True)
        with torch.no_grad():
            forward_seconds = clock(lambda: candidate.forward(batch))
    except Exception as error:  # other libraries may raise any type; the others must still run
        timings.error = failure(error)
        candidate.module.zero_grad(set_to_none=True)
        return
    if seconds is None or forward_seconds is None:
        timings.discarded += 1
        return
    timings.step.append(seconds)
    timings.forward.append(forward_seconds)


@dataclass(frozen=True)
class Peak:
    """Peak of allocated bytes above the initial state.

    ``total`` counts all memory; ``working`` excludes the gradients of parameters. On CUDA, whose
    counter reports one number, ``working`` is ``total`` minus all these gradients: slightly too
    low if the peak precedes the allocation of the last gradient.
    """

    total: int
    working: int


def measure_peak(device: torch.device, work: Callable[[], Sequence[Tensor]]) -> Peak:
    """Peak of one call of ``work``, which returns the gradients to exclude from working memory."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        gradients = work()
        torch.cuda.synchronize()
        total = torch.cuda.max_memory_allocated() - before
        return Peak(total, total - sum(gradient.nbytes for gradient in gradients))
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler prints to stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        gradients = work()
    with tempfile.TemporaryDirectory() as folder:  # the exported trace is the public form
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        trace = json.loads(path.read_text())["traceEvents"]
    found = [event for event in trace if event.get("name") == "[memory]"]
    found.sort(key=lambda event: (event["ts"], event["args"]["Ev Idx"]))
    cpu = [event["args"] for event in found if event["args"]["Device Type"] == 0]
    events = [(args["Addr"], args["Bytes"]) for args in cpu]
    kept = [gradient.untyped_storage().data_ptr() for gradient in gradients]
    return Peak(peak_bytes(events), peak_bytes(events, kept))


def peak_bytes(events: Sequence[tuple[int, int]], excluded: Iterable[int] = ()) -> int:
    """Largest number of bytes held at once, without the last allocation at ``excluded`` addresses.

    Events are addresses, and bytes allocated (positive) or freed (negative), by time.

    >>> events = [(8, 100), (9, 50), (8, -100), (8, 10)]
    >>> peak_bytes(events), peak_bytes(events, excluded=[9])
    (150, 100)
    """
    last = {address: index for index, (address, size) in enumerate(events) if size > 0}
    skipped = {last[address] for address in excluded if address in last}
    held = (size for index, (_, size) in enumerate(events) if index not in skipped)
    return max(accumulate(held, initial=0))
