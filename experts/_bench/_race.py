"""Rounds in which every contestant runs once, in an order that rotates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ._clock import Clock
from ._contestant import Contestant
from ._contestants import failure

WARMUP = 8  # rounds; the heap is still growing before
FEW = 3  # measured rounds of one that takes longer than its patience
MORE = 4  # times as many rounds are run where some do not count
FEW_WARMUP = 2  # its rounds of warm-up; the first may include what is done only once


@dataclass
class Times:
    """Seconds of every measured round, forward and backward, and forward alone.

    ``set_aside`` is how many rounds the clock did not count; ``error`` says what ended it
    early, None where nothing did.
    """

    step: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    set_aside: int = 0
    error: str | None = None


def race(
    contestants: Mapping[str, Contestant],
    draw: Callable[[], Tensor],
    gradient: Tensor,
    rounds: int,
    clock: Clock,
) -> dict[str, Times]:
    """Time all contestants side by side, after rounds of warm-up.

    Args:
        contestants: by name.
        draw: makes the batch of a round, ``(N, D)``; called once a round.
        gradient: ``(N, D)``, what is fed backward.
        rounds: how many are measured.
        clock: takes the time of a piece of work.

    Returns:
        Times by name; one that raised holds the error.
    """
    warm = _run_rounds(contestants, draw, gradient, WARMUP, WARMUP, FEW_WARMUP, clock)
    fit = {name: c for name, c in contestants.items() if warm[name].error is None}
    measured = _run_rounds(fit, draw, gradient, rounds, MORE * rounds, FEW, clock)
    for times in measured.values():
        if times.error is None and not times.step:
            times.error = "did not come to rest: the heap grew in every round"
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
    enough: int,
    most: int,
    few: int,
    clock: Clock,
) -> dict[str, Times]:
    """Rounds until each contestant has ``enough`` that count, at ``most`` so many."""
    found = {name: Times() for name in contestants}
    for number in range(most):
        running = [n for n, c in contestants.items() if _goes_on(c, found[n], few)]
        if all(len(found[name].step) >= enough for name in running):
            break
        batch = draw()
        for name in rotated(running, number):
            contestant = contestants[name]
            _add_round(contestant, found[name], contestant.prepare(batch), gradient, clock)
    return found


def _goes_on(contestant: Contestant, times: Times, few: int) -> bool:
    slow = len(times.step) >= few and min(times.step) > contestant.patience
    return times.error is None and not slow


def _add_round(
    contestant: Contestant,
    times: Times,
    batch: Tensor,
    gradient: Tensor,
    clock: Clock,
) -> None:
    """Both measurements of one contestant; gradients are freed outside the timed parts."""
    x = leaf(batch)
    try:
        seconds = clock(lambda: step(contestant, x, gradient))
        forget_gradients(contestant)
        with torch.no_grad():
            forward_seconds = clock(lambda: contestant.forward(batch))
    except Exception as error:  # another's layer may raise anything, and must not end the race
        times.error = failure(error)
        forget_gradients(contestant)
        return
    if seconds is None or forward_seconds is None:
        times.set_aside += 1
        return
    times.step.append(seconds)
    times.forward.append(forward_seconds)
