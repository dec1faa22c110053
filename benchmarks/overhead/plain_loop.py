"""A sweep as a short script around Optuna's loop, with all trials in one process.

``sweep_overhead.py`` compares ``python -m sweeps`` with it: the same trials, the same storage and
one confirmation run.

    python benchmarks/overhead/plain_loop.py OUT [--trials 24] [--epochs 20]
"""

import argparse
from pathlib import Path

import optuna

import tasks

LOW, HIGH = 1e-3, 1e-2


def settings(epochs: int) -> list[str]:
    """Overrides of every trial."""
    return ["task=digits", f"trainer.max_epochs={epochs}", "trainer.threads=1"]


def main(out: Path, trials: int, epochs: int) -> None:
    tasks.quiet()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    out.mkdir(parents=True)
    study = optuna.create_study(storage=f"sqlite:///{out / 'study.db'}", direction="maximize")
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    main(options.out, options.trials, options.epochs)
