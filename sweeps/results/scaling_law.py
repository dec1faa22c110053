"""Scaling law of the learning rate: prediction for a larger model from smaller ones."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from routers import ConfigError, OptionError

from ..statistics.intervals import Interval
from .sweep_dir import read_sweep

#: The tuned parameter, and the metric of model size.
RATE, SIZE = "optimizer.lr", "compute.active_parameters"
#: A line has two parameters; its residuals need a third point.
MIN_POINTS = 3
#: Predictions beyond this multiple of the largest measured size get a warning.
FAR = 10.0


@dataclass(frozen=True)
class Point:
    """The best learning rate for a model with ``size`` active parameters, and its sweep and arm."""

    size: float
    rate: float
    source: str = ""


@dataclass(frozen=True)
class ScalingLaw:
    """``rate = exp(intercept) * size ** slope``, fitted in logarithms.

    Attributes:
        slope: change of log rate per unit of log size.
        intercept: of log rate, at one parameter.
        deviation: standard deviation of log rates around the line.
        sizes: the measured sizes.
    """

    slope: float
    intercept: float
    deviation: float
    sizes: tuple[float, ...]

    def rate(self, size: float) -> float:
        """Predict the learning rate of a model."""
        return float(np.exp(self.intercept + self.slope * np.log(size)))

    def interval(self, size: float, confidence: float = 0.95) -> Interval:
        """Student's prediction interval of the best learning rate of another model.

        It grows with the distance from the measured sizes, and assumes errors of log rates that
        are normal, independent and of equal variance. The grid of a coarse search adds errors of
        half the distance between neighbouring rates.
        """
        x = np.log(self.sizes)
        distance = (np.log(size) - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
        error = self.deviation * np.sqrt(1 + 1 / len(x) + distance)
        reach = stats.t.ppf((1 + confidence) / 2, len(x) - 2) * error
        middle = np.log(self.rate(size))
        return Interval(float(np.exp(middle - reach)), float(np.exp(middle + reach)))


def fit(points: Sequence[Point]) -> ScalingLaw:
    """Ordinary least squares of log learning rate on log active parameters.

    A power law, as DeepSeek-AI (2024, 2401.02954), eq. 1, fit to the best rate by compute.

    Args:
        points: at least 3, of at least 2 sizes.

    Raises:
        ConfigError: for fewer points, or for sizes or rates that are not above 0.

    >>> law = fit([Point(1e4, 1e-2), Point(1e5, 5e-3), Point(1e6, 1e-3)])
    >>> round(law.slope, 4), round(law.rate(1e7), 6)
    (-0.5, 0.000368)
    """
    for point in points:
        for name, value in (("size", point.size), ("learning rate", point.rate)):
            if not (value > 0 and np.isfinite(value)):
                where = f"scale: {point.source or 'point'}: {name}"
                raise OptionError(where, value, "a number > 0")
    sizes = tuple(point.size for point in points)
    if len(points) < MIN_POINTS or len(set(sizes)) < 2:
        raise ConfigError(
            f"scale: {len(points)} best learning rates of {len(set(sizes))} sizes: expected at "
            f"least {MIN_POINTS} of at least 2 sizes; sweep {RATE} at more sizes"
        )
    x = np.log(sizes)
    y = np.log([point.rate for point in points])
    line = stats.linregress(x, y)
    residuals = y - line.intercept - line.slope * x
    deviation = float(np.sqrt((residuals**2).sum() / (len(points) - 2)))
    return ScalingLaw(float(line.slope), float(line.intercept), deviation, sizes)


def read_points(folders: Sequence[Path]) -> dict[str, list[Point]]:
    """The best learning rates of arms by label, one point for each sweep that tuned one.

    Raises:
        ConfigError: for a folder without a sweep, or if no arm tuned its learning rate.
    """
    found = defaultdict(list)
    for folder in folders:
        for arm in read_sweep(folder).arms:
            sizes = list(arm.numbers(SIZE).values())
            if sizes and RATE in arm.params:
                rate = float(arm.params[RATE])
                found[arm.label].append(Point(float(np.mean(sizes)), rate, f"{folder} {arm.label}"))
    if not found:
        raise ConfigError(
            f"scale: no arm of {', '.join(map(str, folders))} has a tuned {RATE} and a confirmed "
            f"run; add {RATE} to the space of the sweeps"
        )
    return dict(found)


def scale_report(folders: Sequence[Path], at: float) -> str:
    """Text with the scaling law of every arm that enough sweeps tuned.

    Raises:
        ConfigError: if no arm has enough points; the message is about the arm with the most.
    """
    found = read_points(folders)
    enough = {label: points for label, points in found.items() if len(points) >= MIN_POINTS}
    if not enough:
        return scale_text(max(found.values(), key=len), at)  # raises
    return "\n\n".join(f"{label}\n{scale_text(points, at)}" for label, points in enough.items())


def scale_text(points: Sequence[Point], at: float) -> str:
    """Text with the points, the fit, and the prediction for ``at`` active parameters.

    Raises:
        ConfigError: if there are too few points, or ``at`` is not above 0.

    >>> points = [Point(1e4, 1e-2), Point(1e5, 4e-3), Point(1e6, 1e-3)]
    >>> print(scale_text(points, at=2e6))
         parameters  learning rate
             10,000           0.01
            100,000          0.004
          1,000,000          0.001
    learning rate = 1.08 * parameters^-0.500, within a factor of 1.2 (one standard deviation)
    at 2,000,000 active parameters: 0.000765, 95 % interval 2.09e-05 to 0.028
    """
    if not (at > 0 and np.isfinite(at)):
        raise OptionError("at", at, "a number of active parameters above 0")
    law = fit(points)
    near = law.interval(at)
    lines = [f"{'parameters':>15}  {'learning rate':>13}"]
    lines += [f"{p.size:>15,.0f}  {p.rate:>13.3g}" for p in sorted(points, key=lambda p: p.size)]
    lines.append(
        f"learning rate = {np.exp(law.intercept):.3g} * parameters^{law.slope:.3f}, within a factor"
        f" of {np.exp(law.deviation):.2g} (one standard deviation)\n"
        f"at {at:,.0f} active parameters: {law.rate(at):.3g}, 95 % interval {near.low:.3g} to "
        f"{near.high:.3g}"
    )
    if at > FAR * max(law.sizes):
        lines.append(f"warning: that is {at / max(law.sizes):.0f} times the largest measured size")
    return "\n".join(lines)
