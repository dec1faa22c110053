"""How often a suite calls an arm different from its copies, on runs that really train.

Four arms are `hash` with tables drawn from independent seeds, so none is better than another. They
run on two benchmarks with three seeds for each suite; the seeds are then split into suites, which
are compared as a report compares them. At a level of 5%, more than three of twenty suites with any
pair called different happen in 1.6% of such experiments.

    python benchmarks/stress/suite_null.py runs/null [--suites 20]    continues a stopped one
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import yaml
from scipy.stats import binom

from sweeps import Objective, read_suite
from sweeps.statistics import LEVEL, OPPOSITE, SeedPlan, SuiteScores, compare_suite

SEEDS = 3
PLUGIN = """
import routers
from routers.hash import Hash

def register_copy(number: int) -> None:
    @routers.register(f"hash_{number}")
    class Copy(Hash):
        def __init__(self, dim: int, num_experts: int, *, seed: int = 0) -> None:
            super().__init__(dim, num_experts, seed=4 * seed + number)

for number in range(4):
    register_copy(number)
"""
SUITE = {
    "run": ["plugins=[copies]"],
    "arms": {f"hash_{n}": [f"router=hash_{n}", "router.seed=${seed}"] for n in range(4)},
    "controls": [],
    "benchmarks": {
        "planted": {"modality": "planted", "run": ["task=planted", "trainer.max_steps=60"]},
        "permuted_digits": {
            "modality": "image",
            "run": ["task=permuted_digits", "trainer.max_steps=60"],
        },
    },
    "checkpoints": "none",
    "workers": 2,
    "quiet": True,
}


def run(folder: Path, suites: int) -> None:
    """Train what is missing of all suites, as one."""
    home = folder.parent
    home.mkdir(parents=True, exist_ok=True)
    (home / "copies.py").write_text(PLUGIN)
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({**SUITE, "confirm": {"seeds": SEEDS * suites}}))
    paths = os.pathsep.join([str(home.resolve()), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "sweeps", f"suite={file}", f"out={folder}"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths})


def split(scores: SuiteScores, suites: int) -> Iterator[SuiteScores]:
    """Scores of one suite after the other, each with its own seeds."""
    seeds = sorted(next(iter(next(iter(scores.values())).values())))
    for number in range(suites):
        own = seeds[number * SEEDS : (number + 1) * SEEDS]
        yield {
            name: {arm: {seed: values[seed] for seed in own} for arm, values in arms.items()}
            for name, arms in scores.items()
        }


def families(scores: SuiteScores, objectives: Mapping[str, Objective]) -> dict[str, list[object]]:
    """Verdicts of all pairs by family: in the suite, in each benchmark, over all benchmarks."""
    scales = {
        name: max(float(np.std(list(own.values()), ddof=1)) for own in arms.values())
        for name, arms in scores.items()
    }
    plan = SeedPlan.fixed(SEEDS)
    found = compare_suite(scores, objectives, dict.fromkeys(scores, 0.0), scales, plan)
    words: dict[str, list[object]] = {
        "suite": [each.word for each in found.suite.verdicts.pairs.values()],
        "all benchmarks": [word for each in found.strict.values() for word in each.values()],
    }
    for name, each in found.benchmarks.items():
        words[name] = [pair.word for pair in each.verdicts.pairs.values()]
    return words


def main() -> None:
    """Run the suites and print how many called any pair different."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suites", type=int, default=20)
    options = parser.parse_args()
    run(options.folder, options.suites)
    suite = read_suite(options.folder)
    counts: dict[str, int] = {}
    for scores in split(suite.scores(), options.suites):
        for family, words in families(scores, suite.objectives()).items():
            counts[family] = counts.get(family, 0) + any(word in OPPOSITE for word in words)
    most = int(binom.isf(0.05, options.suites, LEVEL))
    for family, wrong in counts.items():
        print(f"{family}: {wrong} of {options.suites} suites call a pair different")
    print(f"at a level of {LEVEL:.0%}, more than {most} are rarer than 1 in 20 experiments")


if __name__ == "__main__":
    main()
