"""Overhead of a sweep relative to its training, and the time that a second worker saves.

The same 24 digits trials, one thread each: with one worker, with two workers, and by
``plain_loop.py``, a script around Optuna's loop; each in a fresh process. The overhead per trial
is the wall-clock time minus the training time that the runs report, divided by the number of
runs; it includes evaluation after each epoch and at the end. The time of a command that has
nothing left to do (imports, checks, leaderboard, report) is reported separately.

    python benchmarks/overhead/sweep_overhead.py [--trials 24] [--epochs 20]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from plain_loop import HIGH, LOW, settings


def sweep(workers: int, trials: int, epochs: int, out: Path) -> list[str]:
    """The command ``python -m sweeps``; confirmation is one more run."""
    return [
        *(sys.executable, "-m", "sweeps", f"out={out}", f"workers={workers}", f"trials={trials}"),
        f"run=[{','.join(settings(epochs))}]",
        "arms=[topk]",
        "controls=[]",
        f"space={{optimizer.lr: {{low: {LOW}, high: {HIGH}, log: true}}}}",
        "confirm={seeds: 1, first_seed: 1000}",
    ]


def plain_loop(trials: int, epochs: int, out: Path) -> list[str]:
    """The command that runs the same trials by a script."""
    script = Path(__file__).with_name("plain_loop.py")
    return [sys.executable, str(script), str(out), f"--trials={trials}", f"--epochs={epochs}"]


def seconds_of(command: list[str]) -> float:
    """Wall-clock time of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def training_seconds(out: Path) -> float:
    """Sum of the training times that the runs in a folder report."""
    results = [json.loads(path.read_text()) for path in out.rglob("result.json")]
    return float(sum(result["compute"]["train_seconds"] for result in results))


def main(trials: int, epochs: int) -> None:
    """Run all commands one after another and print their times and ratios."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        outs = {name: Path(folder) / name for name in ("one worker", "two workers", "plain loop")}
        commands = {
            "one worker": sweep(1, trials, epochs, outs["one worker"]),
            "two workers": sweep(2, trials, epochs, outs["two workers"]),
            "plain loop": plain_loop(trials, epochs, outs["plain loop"]),
        }
        for name, command in commands.items():
            seconds[name] = seconds_of(command)
            training = training_seconds(outs[name])
            print(f"{name}: {seconds[name]:.1f} s, {training:.1f} s of training", flush=True)
        fixed = seconds_of(commands["one worker"])
        overhead = seconds["one worker"] - training_seconds(outs["one worker"])
    print(f"a command with nothing left to do: {fixed:.1f} s")
    print(f"one worker, overhead per trial: {overhead / (trials + 1):.2f} s,")
    print(f"of them {(overhead - fixed) / (trials + 1):.2f} s more than such a command;")
    print(f"two workers take {seconds['two workers'] / seconds['one worker']:.2f} of one's time;")
    print(f"one worker takes {seconds['one worker'] / seconds['plain loop']:.2f} of the loop's")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    main(options.trials, options.epochs)
