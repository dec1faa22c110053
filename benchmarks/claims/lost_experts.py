"""A claim tested: a run that loses an expert ends as if it had not, if copies of experts are kept.

Halfway through the training the busiest expert of the first layer and its optimizer state become
0. Arms: no loss, a loss with the callback ``backup``, and a loss without it. Writes one row per run
to ``benchmarks/results/lost_experts.csv`` and the table to ``docs/edits.md``.

    python benchmarks/claims/lost_experts.py             train what is missing, write the table
    python benchmarks/claims/lost_experts.py --table     write the table from existing rows
"""

import csv
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.readme_tables.comparison import (
    RESULTS,
    Comparison,
    Row,
    column,
    interval,
    markdown,
    result_of,
    write_between,
)
from tasks import RoutedModule, routed_layers

TASKS = ("planted", "permuted_digits")
LOSS = "benchmarks.claims.lost_experts:LoseBusiest"
CALLBACKS = {
    "no loss": "[]",
    "loss, with `backup`": f"[{LOSS},backup]",
    "loss, without": f"[{LOSS}]",
}
HEADINGS = ("task", "arm", "accuracy", "difference to no loss", "experts restored")


class LoseBusiest(Callback):
    """Loses the busiest expert of the first layer halfway through the training."""

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        assert isinstance(module, RoutedModule)
        if trainer.global_step != module.total_steps // 2:
            return
        busiest = int(module.last_load[0].argmax())
        bank = routed_layers(module.backbone)[0].bank
        for name in bank.expert_parameters:
            stack = bank.get_parameter(name)
            stack[busiest] = 0
            for held in trainer.optimizers[0].state[stack].values():
                if held.shape == stack.shape:
                    held[busiest] = 0


def figures(out: Path) -> Row:
    """Numbers to keep of a run."""
    with (out / "metrics.csv").open(newline="") as file:
        restored = [row.get("train/restored_experts") or 0 for row in csv.DictReader(file)]
    result = result_of(out)
    found = {"accuracy": result["score"]["value"], "restored": max(map(float, restored))}
    return {**found, "step_ms": round(1000 * result["compute"]["step_seconds"], 3)}


CLAIM = Comparison(
    rows=RESULTS / "lost_experts.csv",
    arms={
        f"{task}: {arm}": f"task={task} trainer.accelerator=cpu trainer.logger=[] "
        f"trainer.callbacks={callbacks}"
        for task in TASKS
        for arm, callbacks in CALLBACKS.items()
    },
    seeds=(0, 1, 2, 3, 4),
    figures=figures,
)


def table() -> str:
    """The rows as a Markdown table; differences are paired by seed."""
    return markdown(HEADINGS, [_cells(task, arm) for task in TASKS for arm in CALLBACKS])


def _cells(task: str, arm: str) -> list[str]:
    whole, rows = CLAIM.of(f"{task}: {next(iter(CALLBACKS))}"), CLAIM.of(f"{task}: {arm}")
    pairs = zip(column(rows, "accuracy"), column(whole, "accuracy"), strict=True)
    difference = "" if rows == whole else interval([one - other for one, other in pairs], 4)
    restored = sum(column(rows, "restored"))
    accuracy = interval(column(rows, "accuracy"), 4)
    return [f"`{task}`", arm, accuracy, difference, f"{restored:.0f} in {len(rows)} runs"]


if __name__ == "__main__":
    CLAIM.run_command(__doc__, lambda: write_between("edits.md", "lost_experts", table()))
