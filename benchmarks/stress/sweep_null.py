"""How often a sweep calls a router different from itself, and whether it finds a real difference.

Twenty sweeps compare ``topk`` with a copy that draws one random number before its weights: the
same strategy with other random numbers for every seed. Both run with default options on five
fresh seeds; the verdict is the leaderboard's. At a level of 5%, more than three of twenty called
different happen in 1.6% of such experiments. Then ``random_fixed`` against ``topk`` on
``planted``, where the task is to find the experts.

    python benchmarks/stress/sweep_null.py [--sweeps 20]
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scipy.stats import binom

LEVEL = 0.05

SEEDS = 5

COPY = """
import torch
import routers
from routers.topk import TopK

@routers.register("again")
class Again(TopK):
    def __init__(self, dim, num_experts, **options):
        torch.rand(1)
        super().__init__(dim, num_experts, **options)
"""

SMALL = "task=digits, task.model.dim=16, task.model.depth=2, expert.hidden=16, trainer.max_epochs=4"
NULL = [f"run=[{SMALL}, 'plugins=[again]']", "arms={one: [router=topk], other: [router=again]}"]
REAL = ["run=[task=planted]", "arms=[topk, random_fixed]", "space={router.k: null}"]


def verdict(settings: list[str], first_seed: int) -> tuple[str, float, float]:
    """The second arm's verdict, its mean difference to the first, and the p-value."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "again.py").write_text(COPY)
        out = Path(folder) / "sweep"
        command = [sys.executable, "-m", "sweeps", *settings, "controls=[]", "trials=1"]
        command += [f"confirm={{seeds: {SEEDS}, first_seed: {first_seed}}}", f"out={out}"]
        paths = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        with (out / "leaderboard.csv").open(newline="") as file:
            _, second = csv.DictReader(file)
    return second["verdict"], float(second["difference_to_first"]), float(second["p_holm"])


def main(sweeps: int) -> None:
    """Run all sweeps and print how many of the null sweeps found a difference."""
    different = 0
    for number in range(sweeps):
        word, gap, p = verdict(NULL, 1000 + SEEDS * number)
        different += p < LEVEL
        print(f"topk and its copy, sweep {number}: {word}, {gap:+.4f}, p = {p:.3f}", flush=True)
    most = int(binom.isf(LEVEL, sweeps, LEVEL))
    print(f"{different} of {sweeps} called different; at most {most} at a level of {LEVEL:.0%}")
    word, gap, p = verdict(REAL, 1000)
    print(f"topk and random_fixed on planted: {word}, {gap:+.4f}, p = {p:.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sweeps", type=int, default=20)
    main(parser.parse_args().sweeps)
