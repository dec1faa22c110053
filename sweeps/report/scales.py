"""From values to places in a panel, and the ticks of an axis."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from .numbers import compact


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis from ``start`` to ``end`` in the panel.

    Ticks of a ``whole`` axis are whole numbers.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; values outside are kept at the edge."""
        low, high, at = map(self._turn, (self.low, self.high, max(value, self.low)))
        return self.start + (self.end - self.start) * min(1.0, (at - low) / (high - low))

    def _turn(self, value: float) -> float:
        return math.log10(value) if self.log else value

    @cached_property
    def ticks(self) -> list[float]:
        """A few round values inside."""
        if self.log:
            return _log_ticks(self.low, self.high)
        return _ticks(self.low, self.high, least=1.0 if self.whole else 0.0)

    @cached_property
    def labels(self) -> list[str]:
        """The ticks in words, all with the same number of decimals."""
        if self.log or self.high >= 1000:
            return list(map(compact, self.ticks))
        step = min((b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)), default=1.0)
        places = max(0, -math.floor(math.log10(step) + 1e-9))
        return [f"{tick:.{places}f}".replace("-", "\N{MINUS SIGN}") for tick in self.ticks]


def around(
    values: Iterable[float], start: float, end: float, *, pad: float = 0.06, zero: bool = False
) -> Scale:
    """A linear scale that holds all finite values, with some air.

    Args:
        values: to be shown.
        start, end: places of the ends.
        pad: air at both ends, as a share of the range.
        zero: lets the axis begin at 0; no air below it then.

    >>> around([1.0, 3.0], 0, 100, pad=0.0)(2.0)
    50.0
    """
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        air = 0.05 * abs(high) or 1.0
        low, high = (low if zero and low == 0 else low - air), high + air
    air = pad * (high - low)
    return Scale(low if zero and low == 0 else low - air, high + air, start, end)


def around_log(values: Iterable[float], start: float, end: float) -> Scale:
    """A logarithmic scale where positive values span more than a factor of four, else linear."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite or min(finite) <= 0 or max(finite) < 4 * min(finite):
        return around(finite, start, end, pad=0.1)
    air = (max(finite) / min(finite)) ** 0.08
    return Scale(min(finite) / air, max(finite) * air, start, end, log=True)


def counts(highest: float, start: float, end: float) -> Scale:
    """A scale of whole numbers from 0, such as steps.

    >>> counts(2, 0, 100).labels
    ['0', '1', '2']
    """
    return Scale(0.0, max(1.0, highest), start, end, whole=True)


def _ticks(low: float, high: float, least: float, wanted: int = 4) -> list[float]:
    raw = max(least, (high - low) / wanted)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if high / low > 1e3 else (1, 3) if high / low > 30 else (1, 2, 5)
    return [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
