"""What a sweep costs beside its training, and what a second worker saves.

The same 24 digits trials, each of one thread: with one worker, with two, and in a plain script
around Optuna's own loop in one process. Seconds per trial beside training are the wall-clock time,
less what the runs say they trained, over the number of runs, evaluation included. What a command
takes that has nothing to do (imports, checks, leaderboard, report) is told apart.

    python benchmarks/sweep_overhead.py [--trials 24] [--epochs 3]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna

import tasks

LOW, HIGH = 1e-3, 1e-2


def settings(epochs: int) -> list[str]:
    """Of every trial."""
    return ["task=digits", f"trainer.max_epochs={epochs}", "trainer.threads=1"]


def with_workers(workers: int, trials: int, epochs: int, out: Path) -> None:
    """``python -m sweeps`` as a user types it; confirmation is one run more."""
    command = [
        *(sys.executable, "-m", "sweeps", f"out={out}", f"workers={workers}", f"trials={trials}"),
        f"run=[{','.join(settings(epochs))}]",
        "arms=[topk]",
        "controls=[]",
        f"space={{optimizer.lr: {{low: {LOW}, high: {HIGH}, log: true}}}}",
        "confirm={seeds: 1, first_seed: 1000}",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def plain_loop(trials: int, epochs: int, out: Path) -> None:
    """The same trials in a script of a few lines, and the one run of confirmation."""
    storage = f"sqlite:///{out.parent / 'plain.db'}"
    study = optuna.create_study(storage=storage, direction="maximize")
    study.enqueue_trial({"lr": 0.002, "k": 2, "weighting": "renormalized"})

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", LOW, HIGH, log=True)
        k = trial.suggest_categorical("k", [2, 4])
        weighting = trial.suggest_categorical("weighting", ["probability", "renormalized"])
        overrides = [f"optimizer.lr={lr}", f"router.k={k}", f"router.weighting={weighting}"]
        folder = out / "trials" / "topk" / f"{trial.number:04d}" / "seed-0"
        result = tasks.train(folder, [*settings(epochs), *overrides])
        return float(result["score"]["validation"])

    study.optimize(objective, n_trials=trials)
    tasks.train(out / "confirmed" / "topk" / "seed-1000", [*settings(epochs), "seed=1000"])


def timed(run: Callable[[Path], None]) -> tuple[float, float]:
    """Seconds of the whole, and of training within it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sweep"
        start = time.perf_counter()
        run(out)
        seconds = time.perf_counter() - start
        results = [json.loads(path.read_text()) for path in out.rglob("result.json")]
    return seconds, sum(result["compute"]["train_seconds"] for result in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    trials, epochs = options.trials, options.epochs
    tasks.quiet()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ways: dict[str, Callable[[Path], None]] = {
        "one worker": lambda out: with_workers(1, trials, epochs, out),
        "two workers": lambda out: with_workers(2, trials, epochs, out),
        "plain loop": lambda out: plain_loop(trials, epochs, out),
    }
    seconds = {}
    for name, run in ways.items():
        seconds[name], training = timed(run)
        line = f"{name}: {seconds[name]:.1f} s, {training:.1f} s of training"
        if name != "two workers":
            line += f", {(seconds[name] - training) / (trials + 1):.2f} s per trial beside it"
        print(line, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sweep"
        with_workers(1, 1, 1, out)
        start = time.perf_counter()
        with_workers(1, 1, 1, out)
        fixed = time.perf_counter() - start
    rest = (seconds["one worker"] - fixed - seconds["plain loop"]) / (trials + 1)
    print(f"a command with nothing to do: {fixed:.1f} s; beyond it one worker takes {rest:+.2f} s")
    print("per trial more than the loop, which imports nothing in its time")
    print(f"two workers take {seconds['two workers'] / seconds['one worker']:.2f} of one's time;")
    print(f"one worker takes {seconds['one worker'] / seconds['plain loop']:.2f} of the loop's")


if __name__ == "__main__":
    main()
