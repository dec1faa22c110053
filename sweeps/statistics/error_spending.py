"""Levels of repeated looks at growing data: error spending of group sequential tests."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from routers import OptionError

Array = npt.NDArray[np.float64]
Spending = Callable[[float, float], float]

#: Nodes of the quadrature over the statistic of the previous look.
NODES = 120
#: Largest bound in standard deviations; its tail is below 1e-298.
FARTHEST = 37.0


def obrien_fleming(level: float, fraction: float) -> float:
    """Error that the looks at a fraction of the data may make, like O'Brien and Fleming (1979).

    ``2 - 2 Phi(z(level / 2) / sqrt(fraction))`` of a one-sided test (Lan and DeMets 1983,
    doi 10.1093/biomet/70.3.659): little at first, ``level`` in total.

    >>> round(obrien_fleming(0.025, 0.5), 5), round(obrien_fleming(0.025, 1.0), 5)
    (0.00153, 0.025)
    """
    return 2 * float(special.ndtr(special.ndtri(level / 2) / np.sqrt(fraction)))


@cache
def look_levels(
    level: float, fractions: tuple[float, ...], spending: Spending = obrien_fleming
) -> tuple[float, ...]:
    """Level of a one-sided test at each look, such that all looks together make an error of one.

    The probability that look k is the first to reject is what ``spending`` adds between looks k - 1
    and k, by the recursion of Armitage, McPherson and Rowe (1969) over sums of normal scores. A
    test rejects at the first look whose p-value is at most the level of the look: the significance
    level approach (Jennison and Turnbull 2000, section 4.4) for tests that are not normal. The
    levels of a two-sided test are twice those of half the level.

    Args:
        level: of all looks together, in (0, 1).
        fractions: share of the data at each look, increasing, at most 1.

    >>> [round(2 * each, 5) for each in look_levels(0.025, (0.5, 1.0))]
    [0.00305, 0.049]
    """
    if not 0 < level < 1:
        raise OptionError("level", level, "a number in (0, 1)")
    steps = np.diff(fractions, prepend=0.0)
    if not len(steps) or (steps <= 0).any() or fractions[-1] > 1:
        raise OptionError("fractions", fractions, "increasing numbers in (0, 1]")
    spent = np.diff([spending(level, fraction) for fraction in fractions], prepend=0.0)
    found: list[float] = []
    sums = _Sums(np.zeros(1), np.ones(1))  # before the first look the sum is 0
    for error, step, root in zip(spent, np.sqrt(steps), np.sqrt(fractions), strict=True):
        bound = sums.bound(max(float(error), 1e-298), step, root)
        found.append(float(special.ndtr(-bound)))
        sums = sums.below(bound * root, step, root)
    return tuple(found)


@dataclass(frozen=True)
class _Sums:
    """Distribution of the sum of scores if no look has rejected: mass at quadrature points."""

    points: Array
    mass: Array

    def bound(self, error: float, step: float, root: float) -> float:
        """Bound of the next standardized sum that is passed with probability ``error``."""

        def excess(z: float) -> float:
            return float(self.mass @ special.ndtr((self.points - z * root) / step)) - error

        return optimize.brentq(excess, -FARTHEST, FARTHEST, xtol=1e-11)

    def below(self, high: float, step: float, root: float) -> "_Sums":
        """Distribution of the next sum, below ``high``."""
        nodes, weights = _quadrature()
        low = -9 * root
        points = low + (high - low) * (nodes + 1) / 2
        apart = (points[:, None] - self.points) / step
        density = np.exp(-(apart**2) / 2) @ self.mass / (step * np.sqrt(2 * np.pi))
        return _Sums(points, density * weights * (high - low) / 2)


@cache
def _quadrature() -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(NODES)
