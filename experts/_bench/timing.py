"""Interleaved timing: each round runs every candidate once, in an order that rotates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor

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

    ``discarded`` counts rounds the clock rejected; ``error`` is the reason a candidate stopped
    early, else None.
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
    """Time all candidates in the same rounds, after warm-up.

    Args:
        candidates: by name.
        draw: returns a fresh batch ``(N, D)``; called once per round.
        gradient: ``(N, D)``, gradient of the output, the same in all rounds.
        rounds: number of measured rounds.
        clock: measures one call.

    Returns:
        Timings by name. An exception of a candidate is recorded in its ``error``.
    """
    warmup = _run_rounds(
        candidates, draw, gradient, WARMUP_ROUNDS, WARMUP_ROUNDS, SLOW_WARMUP_ROUNDS, clock
    )
    working = {name: c for name, c in candidates.items() if warmup[name].error is None}
    limit = MAX_ROUNDS_FACTOR * rounds
    measured = _run_rounds(working, draw, gradient, rounds, limit, SLOW_ROUNDS, clock)
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
    """Describe an exception on one line.

    >>> failure(ValueError("first\\nsecond"))
    'failed: ValueError: first'
    """
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"failed: {type(error).__name__}: {first}"


def _run_rounds(
    candidates: Mapping[str, Candidate],
    draw: Callable[[], Tensor],
    gradient: Tensor,
    rounds: int,
    limit: int,
    slow_rounds: int,
    clock: Clock,
) -> dict[str, Timings]:
    """Run until each candidate has ``rounds`` valid rounds, at most ``limit`` in total."""
    timings = {name: Timings() for name in candidates}
    for number in range(limit):
        active = [n for n, c in candidates.items() if _is_active(c, timings[n], slow_rounds)]
        if all(len(timings[name].step) >= rounds for name in active):
            break
        batch = draw()
        for name in rotate(active, number):
            candidate = candidates[name]
            _time_round(candidate, timings[name], candidate.prepare(batch), gradient, clock)
    return timings


def _is_active(candidate: Candidate, timings: Timings, slow_rounds: int) -> bool:
    slow = len(timings.step) >= slow_rounds and min(timings.step) > candidate.patience
    return timings.error is None and not slow


def _time_round(
    candidate: Candidate, timings: Timings, batch: Tensor, gradient: Tensor, clock: Clock
) -> None:
    """Time a step and a forward pass; gradients are freed outside the timed calls."""
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
