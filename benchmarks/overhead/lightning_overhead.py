"""Overhead of Lightning: training by ``python -m tasks`` and by a plain PyTorch loop.

Both train the same model on the same batches with the same augmentation, losses, optimizer,
schedule and clipping, in one process, taking turns; medians over repetitions. The Lightning side
is what a user gets: metrics, logs, checkpoints and divergence checks are on. Neither side
validates.

    python benchmarks/overhead/lightning_overhead.py [key=value …]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tasks import Run, compose, quiet

REPETITIONS = 7
EPOCHS = 3


def raw_loop(run: Run) -> float:
    """Seconds to train with a plain loop."""
    module, config = run.module, run.config
    optimizers = module.configure_optimizers()
    optimizer, schedule = optimizers["optimizer"], optimizers["lr_scheduler"]["scheduler"]
    start = time.perf_counter()
    for epoch in range(config.trainer.max_epochs):
        run.batches.set_epoch(epoch)
        for batch in run.batches:
            batch = module.prepare_batch(run.task.augment(batch))
            output, routings = module.backbone(batch)
            loss = run.task.loss(output, batch) + module.auxiliary_loss(routings)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), config.trainer.gradient_clip_val)
            optimizer.step()
            schedule.step()
    return time.perf_counter() - start


def with_lightning(run: Run) -> float:
    """Seconds to train with the run's Trainer."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoints").mkdir()
        result = run.train(Path(folder), None, Console(quiet=True))
    return float(result["compute"]["train_seconds"])


def main(overrides: list[str]) -> None:
    quiet()
    arguments = ["task=digits", f"trainer.max_epochs={EPOCHS}", "trainer.progress=false"]
    seconds: dict[str, list[float]] = {"plain loop": [], "Lightning": []}
    steps = 0
    for _ in range(REPETITIONS):
        for name, train in {"plain loop": raw_loop, "Lightning": with_lightning}.items():
            run = Run(compose([*arguments, *overrides]))
            steps = run.module.total_steps
            seconds[name].append(train(run))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"digits, {steps} steps, {torch.get_num_threads()} threads, median of {REPETITIONS}")
    table = Table()
    for column in ("", "ms per step", "ratio"):
        table.add_column(column, justify="right")
    for name, median in medians.items():
        ratio = median / medians["plain loop"]
        table.add_row(name, f"{median / steps * 1e3:.2f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
