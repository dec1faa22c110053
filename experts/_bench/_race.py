"""Rounds in which every contestant runs once, in an order that rotates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor

from ._contestant import Contestant
from ._contestants import failure

WARMUP = 8  # rounds; the heap is still growing before
FEW = 3  # measured rounds of one that takes longer than its patience
FEW_WARMUP = 2  # its rounds of warm-up; the first may include what is done only once


@dataclass
class Times:
    """Seconds of every measured round, forward and backward, and forward alone.

    ``error`` says what ended it early; None where nothing did.
    """

    step: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    error: str | None = None


def race(
    contestants: Mapping[str, Contestant],
    draw: Callable[[], Tensor],
    gradient: Tensor,
    rounds: int,
    wait: Callable[[], None],
) -> dict[str, Times]:
    """Time all contestants side by side, after rounds of warm-up.

    Args:
        contestants: by name.
        draw: makes the batch of a round, ``(N, D)``; called once a round.
        gradient: ``(N, D)``, what is fed backward.
        rounds: how many are measured.
        wait: returns when the device has done all it was given.

    Returns:
        Times by name; one that raised holds the error.
    """
    warm = _run_rounds(contestants, draw, gradient, WARMUP, FEW_WARMUP, wait)
    fit = {name: c for name, c in contestants.items() if warm[name].error is None}
    measured = _run_rounds(fit, draw, gradient, rounds, FEW, wait)
    return {name: measured.get(name, warm[name]) for name in contestants}


def rotated(names: Sequence[str], number: int) -> list[str]:
    """The order of a round.

    >>> rotated(["a", "b", "c"], 4)
    ['b', 'c', 'a']
    """
    first = number % len(names) if names else 0
    return [*names[first:], *names[:first]]


def step(contestant: Contestant, batch: Tensor, gradient: Tensor) -> None:
    """One forward and backward pass."""
    y = contestant.forward(batch)
    y.backward(gradient)  # type: ignore[no-untyped-call]


def leaf(batch: Tensor) -> Tensor:
    """The batch as an input that gets a gradient, and has none yet."""
    return batch.detach().requires_grad_()


def forget_gradients(contestant: Contestant) -> None:
    """Free the gradients of all parameters."""
    for parameter in contestant.module.parameters():
        parameter.grad = None


def _run_rounds(
    contestants: Mapping[str, Contestant],
    draw: Callable[[], Tensor],
    gradient: Tensor,
    rounds: int,
    few: int,
    wait: Callable[[], None],
) -> dict[str, Times]:
    found = {name: Times() for name in contestants}
    for number in range(rounds):
        batch = draw()
        for name in rotated(list(contestants), number):
            contestant, times = contestants[name], found[name]
            if times.error is None and not _sits_out(contestant, times, few):
                _add_round(contestant, times, contestant.prepare(batch), gradient, wait)
    return found


def _sits_out(contestant: Contestant, times: Times, few: int) -> bool:
    return len(times.step) >= few and min(times.step) > contestant.patience


def _add_round(
    contestant: Contestant,
    times: Times,
    batch: Tensor,
    gradient: Tensor,
    wait: Callable[[], None],
) -> None:
    """Both measurements of one contestant; gradients are freed outside the timed parts."""
    x = leaf(batch)
    try:
        seconds = _timed(lambda: step(contestant, x, gradient), wait)
        forget_gradients(contestant)
        with torch.no_grad():
            forward_seconds = _timed(lambda: contestant.forward(batch), wait)
    except Exception as error:  # another's layer may raise anything, and must not end the race
        times.error = failure(error)
        forget_gradients(contestant)
        return
    times.step.append(seconds)
    times.forward.append(forward_seconds)


def _timed(work: Callable[[], object], wait: Callable[[], None]) -> float:
    wait()
    start = perf_counter()
    work()
    wait()
    return perf_counter() - start
