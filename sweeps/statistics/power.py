"""Power of a comparison with a number of seeds, simulated from the residuals of a pilot."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, sqrt

import numpy as np
import numpy.typing as npt
from scipy import special

from routers import OptionError

from ..config.confirm import SeedPlan
from .paired_tests import ROUNDING, estimate_prior, estimate_priors, moderate, sign_flip
from .sequential import two_sided
from .verdicts import LEVEL, MIN_SEEDS, Scores, shared_seeds

Array = npt.NDArray[np.float64]

#: Simulated sweeps of one power.
SIMULATIONS = 400
#: Numbers of seeds that are tried for several differences.
NUMBERS = (*range(MIN_SEEDS, 11), 12, 14, 17, 20, 25, 30, 40, 50, 70, 100)
#: Relative precision of a difference.
PRECISION = 0.04
#: Factor between differences that are tried before.
STEP = 1.3
#: Differences beyond this multiple of the noise are not detectable.
FARTHEST = 1_000.0


@dataclass(frozen=True)
class SimulatedScores:
    """Scores of new seeds, drawn from what a pilot shows about the noise of each arm.

    Attributes:
        residuals: of the pilot, of all arms together, with mean 0 and variance 1; they keep its
            skewness and its outliers.
        deviations: standard deviation over seeds by arm, without what a seed adds to all arms.
    """

    residuals: Array
    deviations: dict[str, float]

    @classmethod
    def from_pilot(cls, pilot: Scores) -> "SimulatedScores":
        """Estimate the noise from at least 2 arms on at least 2 shared seeds.

        The residuals are scores without the means of arm and seed. The variance of each arm is
        moderated as in `compare_all`: drawn towards that of all arms.

        >>> pilot = {"x": {1: 1.0, 2: 3.0}, "y": {1: 3.0, 2: 1.0}}
        >>> SimulatedScores.from_pilot(pilot).deviations
        {'x': 2.0, 'y': 2.0}
        """
        seeds = shared_seeds(pilot)
        if len(pilot) < 2 or len(seeds) < 2:
            found = f"{len(pilot)} arms with {len(seeds)} shared seeds"
            raise OptionError("pilot", f"({found})", "at least 2 arms with 2 shared seeds")
        x = np.array([[runs[seed] for seed in seeds] for runs in pilot.values()])
        own_degrees = (len(seeds) - 1) * (len(x) - 1) / len(x)
        residuals = x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()
        residuals[np.abs(residuals) <= np.sqrt(ROUNDING) * np.abs(x).max()] = 0.0
        own = (residuals**2).sum(1) / own_degrees
        prior = estimate_prior(x)  # of differences, so of twice the variance
        together = prior.degrees * prior.variance / 2 + own_degrees * own
        deviations = np.sqrt(together / (prior.degrees + own_degrees))
        noise = residuals / np.where(deviations > 0, deviations, 1.0)[:, None]
        noise /= np.sqrt((noise**2).mean()) or 1.0
        return cls(noise.ravel(), dict(zip(pilot, deviations.tolist(), strict=True)))

    def draw(self, rng: np.random.Generator, seeds: int) -> dict[str, dict[int, float]]:
        """Scores of arms that do not differ, on ``seeds`` new seeds."""
        (drawn,) = self.draw_sweeps(rng, 1, seeds)
        runs = [dict(enumerate(each)) for each in drawn.tolist()]
        return dict(zip(self.deviations, runs, strict=True))

    def draw_sweeps(self, rng: np.random.Generator, sweeps: int, seeds: int) -> Array:
        """Scores of several sweeps, ``(sweeps, arms, seeds)``."""
        deviations = np.array([*self.deviations.values()])
        return deviations[:, None] * rng.choice(self.residuals, (sweeps, len(deviations), seeds))


@dataclass(frozen=True)
class SimulatedSweeps:
    """Tests of one arm with all others, in simulated sweeps of arms that do not differ.

    A true difference shifts the means of differences and leaves their variances, so one set of
    sweeps serves all differences. Pairs of other arms count in Holm's correction, but are not
    tested: the time grows with the arms, not with their pairs.

    Attributes:
        gaps: mean difference of the arm to each other arm, ``(looks, sweeps, others)``.
        errors: their standard errors; 0 if all seeds show the same difference.
        critical: the t value that the i-th smallest p-value needs; of the same shape.
        certain: the t value with the p-value of the sign-flip test, which decides where the
            standard error is 0, ``(looks, sweeps, 1)``.
        counted: the other arm, of each sweep, whose difference counts.
    """

    gaps: Array
    errors: Array
    critical: Array
    certain: Array
    counted: npt.NDArray[np.int64]

    @classmethod
    def of(cls, simulated: SimulatedScores, plan: SeedPlan) -> "SimulatedSweeps":
        """400 sweeps, the same at each call; the arm and the counted other arm take turns."""
        arms = len(simulated.deviations)
        turns, family = np.arange(SIMULATIONS), comb(arms, 2)
        drawn = simulated.draw_sweeps(np.random.default_rng(0), SIMULATIONS, plan.most)
        drawn = drawn[turns[:, None], (turns[:, None] + np.arange(arms)) % arms]
        looks = []
        for look, seeds in enumerate(plan.looks):
            scores = drawn[:, :, :seeds]
            prior, prior_degrees = (each[:, None] for each in estimate_priors(scores))
            differences, variances = moderate(scores[:, :1], scores[:, 1:], prior, prior_degrees)
            degrees = seeds - 1 + prior_degrees
            limits = [two_sided(plan, look, LEVEL / (family - i)) for i in range(arms - 1)]
            critical = -special.stdtrit(degrees, np.array(limits) / 2)
            certain = -special.stdtrit(degrees, sign_flip([1.0] * seeds) / 2)
            looks.append((differences.mean(2), np.sqrt(variances / seeds), critical, certain))
        gaps, errors, criticals, certains = map(np.array, zip(*looks, strict=True))
        return cls(gaps, errors, criticals, certains, turns // arms % (arms - 1))

    def power(self, difference: float) -> float:
        """Share of sweeps in which a true difference is found, with the right sign."""
        _, sweeps, others = self.gaps.shape
        rows, places = np.arange(sweeps), np.arange(others)
        found, is_open = np.zeros(sweeps, bool), np.ones((sweeps, others), bool)
        gaps = self.gaps + difference
        t = np.divide(gaps, self.errors, out=np.sign(gaps) * self.certain, where=self.errors > 0)
        for signed, critical in zip(t, self.critical, strict=True):
            sizes = np.where(is_open, np.abs(signed), -1.0)
            order = np.argsort(-sizes, 1)
            decided = others - is_open.sum(1, keepdims=True)
            needed = np.take_along_axis(critical, np.minimum(decided + places, others - 1), 1)
            # Holm stops at the first pair that is not rejected
            passed = np.logical_and.accumulate(np.take_along_axis(sizes, order, 1) >= needed, 1)
            rejected = np.empty_like(is_open)
            np.put_along_axis(rejected, order, passed, 1)
            found |= rejected[rows, self.counted] & (signed[rows, self.counted] > 0)
            is_open &= ~rejected
        return float(found.mean())


def power_of(difference: float, simulated: SimulatedScores, plan: SeedPlan) -> float:
    """Probability that a true difference of one arm to all others is found, with the right sign.

    400 simulated sweeps are compared as by `compare_sequentially` with a margin of 0, but with the
    variance prior of all arms at every look.

    >>> pilot = {"x": {1: 1.0, 2: 3.0, 3: 2.0}, "y": {1: 3.0, 2: 1.0, 3: 2.0}}
    >>> power_of(100.0, SimulatedScores.from_pilot(pilot), SeedPlan.fixed(8))
    1.0
    """
    return SimulatedSweeps.of(simulated, plan).power(difference)


def smallest_detectable_difference(
    pilot: Scores, plan: SeedPlan, power: float = 0.8
) -> float | None:
    """Smallest true difference that a plan finds with a power, in units of the score, to 4 %.

    None if no difference of up to 1,000 standard deviations is found, as where there is no noise
    and the sign-flip test decides. The simulated power exceeds ``power`` by two standard errors, so
    the difference is rather too large than too small. The noise of a pilot with few seeds is
    itself uncertain.

    Args:
        pilot: scores of the arms that will be compared, or of arms that vary alike.

    >>> pilot = {"x": {1: 0.1, 2: 0.3, 3: 0.2}, "y": {1: 0.3, 2: 0.1, 3: 0.2}}
    >>> found = smallest_detectable_difference(pilot, SeedPlan.fixed(8))
    >>> 0.2 < found < 0.4
    True
    """
    simulated = SimulatedScores.from_pilot(pilot)
    sweeps = SimulatedSweeps.of(simulated, plan)
    unit = max(simulated.deviations.values())

    def is_enough(difference: float) -> bool:
        return sweeps.power(difference) >= _demanded(power)

    # rough start: the z test at Bonferroni's level
    level = LEVEL / comb(len(pilot), 2)
    high = unit * sqrt(2 / plan.most) * -(special.ndtri(level / 2) + special.ndtri(1 - power))
    while 0 < high <= FARTHEST * unit and not is_enough(high):
        high *= STEP
    if not 0 < high <= FARTHEST * unit:
        return None
    low = high / STEP
    while is_enough(low):
        low, high = low / STEP, low
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return float(high)


def seeds_for_each(
    differences: Sequence[float], pilot: Scores, power: float = 0.8
) -> dict[float, int | None]:
    """Smallest fixed number of seeds, of `NUMBERS`, that finds each true difference; else None.

    A larger difference never needs more seeds, which saves most simulations.

    Args:
        differences: in units of the score, as of pairs that are not distinguishable yet.
        pilot: as of `smallest_detectable_difference`.

    >>> pilot = {"x": {1: 0.1, 2: 0.3, 3: 0.2}, "y": {1: 0.3, 2: 0.1, 3: 0.2}}
    >>> seeds_for_each([10.0, 0.0], pilot)
    {10.0: 3, 0.0: None}
    """
    simulated = SimulatedScores.from_pilot(pilot)
    demanded = _demanded(power)

    @cache
    def sweeps(seeds: int) -> SimulatedSweeps:
        return SimulatedSweeps.of(simulated, SeedPlan.fixed(seeds))

    def found(falling: Sequence[float], low: int, high: int) -> Iterator[tuple[float, int | None]]:
        """The results, which lie between two positions in `NUMBERS`; the end is more than all."""
        if not falling:
            return
        middle = len(falling) // 2
        difference = falling[middle]

        def is_enough(seeds: int) -> bool:
            return sweeps(seeds).power(difference) >= demanded

        position = bisect_left(NUMBERS, True, low, high, key=is_enough)
        yield from found(falling[:middle], low, position)
        yield difference, NUMBERS[position] if position < len(NUMBERS) else None
        yield from found(falling[middle + 1 :], position, high)

    return dict(found(sorted(set(differences), reverse=True), 0, len(NUMBERS)))


def _demanded(power: float) -> float:
    """Simulated power, two standard errors above the true one."""
    return power + 2 * sqrt(power * (1 - power) / SIMULATIONS)
