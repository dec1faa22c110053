"""Error rate and power of the verdicts on suites, simulated from the residuals of a pilot.

Null suites: no arm differs in any benchmark; the share of suites in which any pair of a family is
called different is at most 5 %. Planted suites: in each benchmark one arm is better by the smallest
detectable difference that the pilot states; the share found is at least 80 %.

    python benchmarks/statistics/suites.py --suites 200                 a fixed number of seeds
    python benchmarks/statistics/suites.py --suites 200 --sequential    seeds added where open
    python benchmarks/statistics/suites.py --csv results.csv --metric score

Without ``--csv`` the pilots are drawn: 3 benchmarks, 5 arms, 5 seeds, normal noise and noise with
occasional failures (minus a log-normal). A CSV has the columns benchmark, arm, seed and metric.
"""

import argparse
import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from sweeps import Objective
from sweeps.statistics import (
    LEVEL,
    OPPOSITE,
    SeedPlan,
    SimulatedScores,
    SuiteScores,
    SuiteVerdicts,
    Word,
    compare_suite,
    smallest_detectable_difference,
)

FIXED, SEQUENTIAL = SeedPlan.fixed(5), SeedPlan(first=4, step=3, most=10)
#: Standard deviation over seeds by benchmark, and noise of an arm relative to that of others.
DEVIATIONS = {"images": 0.004, "text": 0.01, "planted": 0.05}
ARMS = {"control": 1.0, "dense": 1.0, "topk": 1.0, "hash": 1.0, "soft": 1.5}
POWER = 0.8

Noise = Callable[[np.random.Generator, int], np.ndarray]


def normal(draw: np.random.Generator, count: int) -> np.ndarray:
    """Standard normal noise."""
    return draw.standard_normal(count)


def skewed(draw: np.random.Generator, count: int) -> np.ndarray:
    """Occasional failures: minus a log-normal, skewness -3.7."""
    return -np.exp(0.8 * draw.standard_normal(count))


def drawn_pilot(noise: Noise, seeds: int = 5) -> SuiteScores:
    """A pilot of all benchmarks and arms."""
    draw = np.random.default_rng(0)
    return {
        benchmark: {
            arm: dict(enumerate((deviation * relative * noise(draw, seeds)).tolist()))
            for arm, relative in ARMS.items()
        }
        for benchmark, deviation in DEVIATIONS.items()
    }


def read_pilot(path: Path, metric: str) -> SuiteScores:
    """Scores of a table with one row a run."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            arms = found.setdefault(row["benchmark"], {})
            arms.setdefault(row["arm"], {})[int(row["seed"])] = float(row[metric])
    return found


@dataclass(frozen=True)
class Simulation:
    """Suites drawn from the noise of a pilot, and their comparison."""

    noise: Mapping[str, SimulatedScores]
    plan: SeedPlan

    def compare(
        self, draw: np.random.Generator, gaps: Mapping[str, float], better: str
    ) -> SuiteVerdicts:
        """Verdicts on one suite in which an arm is better by ``gaps``."""
        scores = {name: each.draw(draw, self.plan.most) for name, each in self.noise.items()}
        for name, gap in gaps.items():
            arms = scores[name]
            arms[better] = {seed: score + gap for seed, score in arms[better].items()}
        scales = {name: max(each.deviations.values()) for name, each in self.noise.items()}
        objectives = {name: Objective("score.value", "maximize") for name in scores}
        return compare_suite(scores, objectives, dict.fromkeys(scores, 0.0), scales, self.plan)

    def errors(self, suites: int, first: int = 1) -> dict[str, int]:
        """Number of null suites with any pair called different, by family."""
        counts = dict.fromkeys(["suite", *self.noise, "strict"], 0)
        for number in range(suites):
            found = self.compare(np.random.default_rng([first, number]), {}, "")
            words = {"suite": [v.word for v in found.suite.verdicts.pairs.values()]}
            for name, each in found.benchmarks.items():
                words[name] = [v.word for v in each.verdicts.pairs.values()]
            words["strict"] = [word for each in found.strict.values() for word in each.values()]
            for family, each in words.items():
                counts[family] += any(word in OPPOSITE for word in each)
        return counts

    def found(self, suites: int, gaps: Mapping[str, float], first: int = 2) -> dict[str, int]:
        """Number of planted suites in which the better arm is found, by benchmark."""
        counts = dict.fromkeys(["suite", *gaps], 0)
        for number in range(suites):
            names = {benchmark: list(each.deviations) for benchmark, each in self.noise.items()}
            arms = names[next(iter(names))]
            better, other = arms[number % len(arms)], arms[(number + 1) % len(arms)]
            found = self.compare(np.random.default_rng([first, number]), gaps, better)
            counts["suite"] += found.suite.verdicts.of(better, other).word is Word.BETTER
            for name, each in found.benchmarks.items():
                counts[name] += each.verdicts.of(better, other).word is Word.BETTER
        return counts


def report(name: str, pilot: SuiteScores, plan: SeedPlan, suites: int) -> bool:
    """Print error rates and power; whether they are as stated."""
    simulation = Simulation(
        {each: SimulatedScores.from_pilot(scores) for each, scores in pilot.items()}, plan
    )
    holds = True
    for family, wrong in simulation.errors(suites).items():
        bound = binomtest(wrong, suites, LEVEL, alternative="greater")
        low = bound.proportion_ci(0.99).low
        high = binomtest(wrong, suites, LEVEL, alternative="less").proportion_ci(0.95).high
        holds &= low <= LEVEL
        print(f"{name}, null, {family}: {wrong} of {suites}, at most {high:.1%}", flush=True)
    gaps = {
        each: gap
        for each, scores in pilot.items()
        if (gap := smallest_detectable_difference(scores, plan, POWER)) is not None
    }
    for family, count in simulation.found(suites, gaps).items():
        low = binomtest(count, suites, POWER, alternative="less").proportion_ci(0.99).high
        holds &= low >= POWER
        size = f"{gaps[family]:.4f}" if family in gaps else "these in all benchmarks"
        print(f"{name}, planted {size}, {family}: {count} of {suites} found", flush=True)
    return holds


def main() -> None:
    """Simulate what the command line asks; exit with 1 if a rate is not as stated."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--suites", type=int, default=200)
    parser.add_argument("--sequential", action="store_true", help="look at 4, 7 and 10 seeds")
    parser.add_argument("--csv", type=Path, help="results of a suite, one row a run")
    parser.add_argument("--metric", default="score", help="column of the CSV")
    given = parser.parse_args()
    pilots = {"normal": drawn_pilot(normal), "skewed": drawn_pilot(skewed)}
    if given.csv is not None:
        pilots = {given.csv.name: read_pilot(given.csv, given.metric)}
    plan = SEQUENTIAL if given.sequential else FIXED
    holds = [report(name, pilot, plan, given.suites) for name, pilot in pilots.items()]
    if not all(holds):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
