"""What a sweep costs beside its training, and what a second worker saves.

The same 24 digits trials, each of one thread: with one worker, with two, and by ``plain_loop.py``,
a script around Optuna's own loop; each a process of its own that imports what it needs. Seconds
per trial beside training are the wall-clock time, less what the runs say they trained, over the
number of runs; evaluation is in them, after each epoch and in the end. What a command takes that
has nothing left to do (imports, checks, leaderboard, report) is told apart.

    python benchmarks/sweep_overhead.py [--trials 24] [--epochs 20]
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
    """``python -m sweeps`` as a user types it; confirmation is one run more."""
    return [
        *(sys.executable, "-m", "sweeps", f"out={out}", f"workers={workers}", f"trials={trials}"),
        f"run=[{','.join(settings(epochs))}]",
        "arms=[topk]",
        "controls=[]",
        f"space={{optimizer.lr: {{low: {LOW}, high: {HIGH}, log: true}}}}",
        "confirm={seeds: 1, first_seed: 1000}",
    ]


def plain_loop(trials: int, epochs: int, out: Path) -> list[str]:
    """The same trials by a script."""
    script = Path(__file__).with_name("plain_loop.py")
    return [sys.executable, str(script), str(out), f"--trials={trials}", f"--epochs={epochs}"]


def seconds_of(command: list[str]) -> float:
    """The wall-clock time of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def training_seconds(out: Path) -> float:
    """What all runs in a folder say they trained."""
    results = [json.loads(path.read_text()) for path in out.rglob("result.json")]
    return float(sum(result["compute"]["train_seconds"] for result in results))


def main(trials: int, epochs: int) -> None:
    """Run all in turn, a line each, then the ratios."""
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
        beside = seconds["one worker"] - training_seconds(outs["one worker"])
    print(f"a command with nothing left to do: {fixed:.1f} s")
    print(f"one worker, per trial beside training: {beside / (trials + 1):.2f} s,")
    print(f"of them {(beside - fixed) / (trials + 1):.2f} s beyond such a command;")
    print(f"two workers take {seconds['two workers'] / seconds['one worker']:.2f} of one's time;")
    print(f"one worker takes {seconds['one worker'] / seconds['plain loop']:.2f} of the loop's")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    main(options.trials, options.epochs)
