"""Power of a comparison with a number of seeds, simulated from the residuals of a pilot."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, sqrt

import numpy as np
import numpy.typing as npt
from scipy import special

from routers import OptionError

from ..config.objectives import Objective
from .paired_tests import ROUNDING, Pair, compare_each, estimate_prior
from .sequential import Names, SeedPlan, decide_in_looks
from .verdicts import LEVEL, MIN_SEEDS, Scores, Verdicts, Word, shared_seeds

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

RISING = Objective("score", "maximize")


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
        return {
            arm: dict(enumerate((deviation * rng.choice(self.residuals, seeds)).tolist()))
            for arm, deviation in self.deviations.items()
        }


def power_of(difference: float, simulated: SimulatedScores, plan: SeedPlan) -> float:
    """Probability that a true difference of one arm to all others is found, with the right sign.

    400 simulated sweeps are compared as by `compare_sequentially` with a margin of 0; the arm that
    is better, and the one that it is compared with, take turns. The same noise is drawn at each
    call. Pairs of equal arms count in Holm's correction, but are not tested: the time grows with
    the arms, not with their pairs.

    >>> pilot = {"x": {1: 1.0, 2: 3.0, 3: 2.0}, "y": {1: 3.0, 2: 1.0, 3: 2.0}}
    >>> power_of(100.0, SimulatedScores.from_pilot(pilot), SeedPlan.fixed(8))
    1.0
    """
    rng = np.random.default_rng(0)
    arms = list(simulated.deviations)
    found = 0
    for turn in range(SIMULATIONS):
        scores = simulated.draw(rng, plan.most)
        better = turn % len(arms)
        other = (better + 1 + turn // len(arms) % (len(arms) - 1)) % len(arms)
        raised = {seed: score + difference for seed, score in scores[arms[better]].items()}
        verdicts = _compare_with(arms[better], {**scores, arms[better]: raised}, plan)
        found += verdicts.of(arms[better], arms[other]).word is Word.BETTER
    return found / SIMULATIONS


def _compare_with(better: str, scores: Scores, plan: SeedPlan) -> Verdicts:
    """Verdicts of an arm with all others; other pairs are in the family without a test."""
    rows = {arm: np.array(list(runs.values())) for arm, runs in scores.items()}
    everything = np.array(list(rows.values()))

    def pairs_at(pairs: Collection[Names], count: int) -> dict[Names, Pair]:
        tested = [pair for pair in pairs if better in pair]
        if not tested:
            return {}
        one, other = (np.array([rows[each[i]][:count] for each in tested]) for i in (0, 1))
        prior = estimate_prior(everything[:, :count])
        return dict(zip(tested, compare_each(one, other, prior), strict=True))

    family = list(combinations(scores, 2))
    found, _ = decide_in_looks(family, pairs_at, RISING, dict.fromkeys(family, 0.0), plan)
    return Verdicts(found, {}, ())


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
    unit = max(simulated.deviations.values())

    def is_enough(difference: float) -> bool:
        return power_of(difference, simulated, plan) >= _demanded(power)

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


def seeds_for(difference: float, pilot: Scores, power: float = 0.8, most: int = 100) -> int | None:
    """Smallest fixed number of seeds that finds a true difference; None if more than ``most``.

    Args:
        difference: in units of the score, as of two arms that are not distinguishable yet.
        pilot: as of `smallest_detectable_difference`.

    >>> pilot = {"x": {1: 0.1, 2: 0.3, 3: 0.2}, "y": {1: 0.3, 2: 0.1, 3: 0.2}}
    >>> seeds_for(10.0, pilot)
    3
    """
    simulated = SimulatedScores.from_pilot(pilot)

    def is_enough(seeds: int) -> bool:
        return power_of(difference, simulated, SeedPlan.fixed(seeds)) >= _demanded(power)

    # power grows with seeds
    found = bisect_left(range(most + 1), True, lo=MIN_SEEDS, key=is_enough)
    return found if found <= most else None


def seeds_for_each(
    differences: Sequence[float], pilot: Scores, power: float = 0.8
) -> dict[float, int | None]:
    """`seeds_for` each of several differences, rounded up to one of `NUMBERS`.

    A larger difference never needs more seeds, which saves most simulations.

    >>> pilot = {"x": {1: 0.1, 2: 0.3, 3: 0.2}, "y": {1: 0.3, 2: 0.1, 3: 0.2}}
    >>> seeds_for_each([10.0, 0.0], pilot)
    {10.0: 3, 0.0: None}
    """
    simulated = SimulatedScores.from_pilot(pilot)
    demanded = _demanded(power)

    def found(falling: Sequence[float], low: int, high: int) -> Iterator[tuple[float, int | None]]:
        """The results, which lie between two positions in `NUMBERS`; the end is more than all."""
        if not falling:
            return
        middle = len(falling) // 2
        difference = falling[middle]

        def is_enough(seeds: int) -> bool:
            return power_of(difference, simulated, SeedPlan.fixed(seeds)) >= demanded

        position = bisect_left(NUMBERS, True, low, high, key=is_enough)
        yield from found(falling[:middle], low, position)
        yield difference, NUMBERS[position] if position < len(NUMBERS) else None
        yield from found(falling[middle + 1 :], position, high)

    return dict(found(sorted(set(differences), reverse=True), 0, len(NUMBERS)))


def _demanded(power: float) -> float:
    """Simulated power, two standard errors above the true one."""
    return power + 2 * sqrt(power * (1 - power) / SIMULATIONS)
