"""How often a sweep calls a router different from itself, and whether it sees a real difference.

Twenty sweeps enter ``topk`` and a copy of it under a name of its own, which draws one number more
before its weights: the same strategy with other luck on every seed. Both run as they are, on five
fresh seeds, and are called what the leaderboard calls them. At a level of 5% more than three of
twenty would be called different in 1.6% of such experiments. Then ``random_fixed`` against
``topk`` on ``planted``, where finding the experts is the task.

    python benchmarks/sweep_null.py [--sweeps 20]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scipy.stats import binom

from sweeps.results.ranking import verdicts_of
from sweeps.results.sweep_dir import read_sweep
from sweeps.statistics.verdicts import LEVEL, OPPOSITE, Word

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


def verdict(settings: list[str], first_seed: int) -> tuple[Word, float, float]:
    """What a sweep of two arms calls them, the mean difference, and the p-value."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "again.py").write_text(COPY)
        out = Path(folder) / "sweep"
        command = [sys.executable, "-m", "sweeps", *settings, "controls=[]", "trials=1"]
        command += [f"confirm={{seeds: {SEEDS}, first_seed: {first_seed}}}", f"out={out}"]
        paths = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        sweep = read_sweep(out)
        found = verdicts_of(sweep).of(*(arm.label for arm in sweep.arms))
    assert found.pair is not None  # there are seeds enough
    assert found.p is not None
    return found.word, found.pair.difference, found.p


def main(sweeps: int) -> None:
    """Run all, a line each, and say how many of the null sweeps saw a difference."""
    different = 0
    for number in range(sweeps):
        word, gap, p = verdict(NULL, 1000 + SEEDS * number)
        different += word in OPPOSITE
        print(f"topk and its copy, sweep {number}: {word}, {gap:+.4f}, p = {p:.3f}", flush=True)
    most = int(binom.isf(LEVEL, sweeps, LEVEL))
    print(f"{different} of {sweeps} called different; at most {most} at a level of {LEVEL:.0%}")
    word, gap, p = verdict(REAL, 1000)
    print(f"topk and random_fixed on planted: {word}, {gap:+.4f}, p = {p:.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sweeps", type=int, default=20)
    main(parser.parse_args().sweeps)
