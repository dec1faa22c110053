"""One row per contestant and shape: what tables, plots and the CSV file show."""

from dataclasses import dataclass

import numpy as np

from ._contestant import Contestant
from ._memory import Peak
from ._race import Times
from ._shapes import Shape


@dataclass(frozen=True)
class Spread:
    """Median and quartiles in ms."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Spread":
        """Of one time per round.

        >>> Spread.of([0.001, 0.002, 0.003])
        Spread(median=2.0, low=1.5, high=2.5)
        """
        low, median, high = np.quantile(np.array(seconds) * 1e3, [0.25, 0.5, 0.75]).tolist()
        return cls(median, low, high)


@dataclass(frozen=True)
class Cost:
    """What one contestant took.

    Args:
        step: forward and backward.
        forward: forward alone, without gradients.
        step_ratio: median time per active FLOP, relative to the dense layer's.
        forward_ratio: the same of the forward pass.
        rounds: how many were measured.
        set_aside: how many more were not counted, for the heap grew in them.
        peak: memory of a step.
    """

    step: Spread
    forward: Spread
    step_ratio: float
    forward_ratio: float
    rounds: int
    set_aside: int
    peak: Peak


@dataclass(frozen=True)
class Row:
    """A contestant at a shape.

    Args:
        where: the shape's name.
        shape: its sizes.
        name: the contestant's key.
        label: what it is called.
        note: what differs from the others.
        flops: active FLOPs per token.
        cost: None for one that did not run.
        absent: why it did not run, or an empty text.
        load_ratio: busiest load over mean load, where that was set.
    """

    where: str
    shape: Shape
    name: str
    label: str
    note: str = ""
    flops: int | None = None
    cost: Cost | None = None
    absent: str = ""
    load_ratio: float | None = None


def cost_of(contestant: Contestant, times: Times, dense: Times, shape: Shape, peak: Peak) -> Cost:
    """Times beside the dense layer's; the same work per token gives the plain ratio of times."""
    work = contestant.flops / shape.flops
    step, forward = Spread.of(times.step), Spread.of(times.forward)
    return Cost(
        step=step,
        forward=forward,
        step_ratio=step.median / Spread.of(dense.step).median / work,
        forward_ratio=forward.median / Spread.of(dense.forward).median / work,
        rounds=len(times.step),
        set_aside=times.set_aside,
        peak=peak,
    )
