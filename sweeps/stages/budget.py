"""Costs of a sweep, and what it cannot answer, before it starts."""

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from tasks import RESULT, Config, read_json

from ..config.arms import Arm
from ..config.plan import Plan
from ..driver.progress import duration
from ..results.formatting import compact
from ..results.sweep_dir import TRIALS
from ..statistics.verdicts import MIN_SEEDS
from ..workers.forkserver import trial_context, warm_up
from ..workers.job import DONE, Job, outcome_of, work
from .confirmation import seeds
from .search import run_overrides

#: Bytes of a parameter, and of its two moments of an Adam optimizer in ``last.ckpt``.
FLOAT_BYTES, MOMENTS_BYTES = 4, 8

#: Time to train for a measurement, and the longest to wait for it.
MEASURED_SECONDS, MAX_WAIT_SECONDS = 3, 120

_TIMER = f"{{name: 'lightning.pytorch.callbacks:Timer', duration: {{seconds: {MEASURED_SECONDS}}}}}"

#: What a measured run does not share with a trial: it ends soon, is validated once, and logs
#: nothing. The time limit of the run, if any, stays in place.
_MEASURED = (
    "trainer.logger=[]",
    f"trainer.callbacks=[{_TIMER}]",
    "trainer.val_check_interval=1.0",
    "trainer.check_val_every_n_epoch=1000000",
)

#: The time of a sweep as multiples of the estimate: arms differ.
RANGE = 0.7, 1.8

#: Time of a forward pass as a part of a training step.
_FORWARD = 1 / 3


def notes(plan: Plan) -> list[str]:
    """The number of trainings, the disk space, and a note if there are too few for verdicts."""
    arms, confirmed = len(plan.arms), plan.config.confirm.seeds
    trials = sum(map(plan.trials_of, plan.arms))
    search = f"{_searched(plan)} trainings to search ({trials} trials of {arms} arms)"
    lines = [f"Budget: {search}, at least {arms * confirmed} to confirm", disk_note(plan)]
    if confirmed < MIN_SEEDS:
        lines.append(
            f"confirm.seeds={confirmed} allows no verdicts: they need at least {MIN_SEEDS}"
        )
    return lines


def disk_note(plan: Plan) -> str:
    """The disk space that checkpoints take at the end of the sweep."""
    needed = {kept: checkpoint_bytes(plan, kept) for kept in ("all", "best")}
    needed["none"] = 0
    kept = plan.config.checkpoints
    note = f"Disk: about {compact(needed[kept])}B of checkpoints (checkpoints={kept})"
    if needed[kept] > needed["best"]:
        note += f", {compact(needed['best'])}B with checkpoints=best"
    existing = next(path for path in (plan.folder, *plan.folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return note + (f"; only {compact(free)}B are free in {existing}" if free < needed[kept] else "")


def checkpoint_bytes(plan: Plan, kept: str) -> float:
    """Bytes of all checkpoints that a sweep with ``checkpoints=all`` or ``best`` keeps."""

    def runs(trials: int) -> int:
        return plan.config.seeds * (trials if kept == "all" else 1) + plan.config.confirm.seeds

    return sum(run_bytes(arm, plan.rows) * runs(plan.trials_of(arm)) for arm in plan.arms)


def run_bytes(arm: Arm, rows: int) -> float:
    """Bytes that a run of an arm keeps: its last state, and weights as ``trainer.checkpoint`` says.

    ``rows`` is the number of training samples.
    """
    trainer = arm.run.trainer
    every, keep = (trainer.checkpoint.get(name) for name in ("every_n_steps", "keep"))
    steps = trained_samples(arm.run, rows) // (trainer.batch_size * trainer.accumulate_grad_batches)
    numbered = steps // every if isinstance(every, int) and every > 0 else 0
    numbered = min(numbered, keep) if isinstance(keep, int) else numbered
    weights = 1 + bool(trainer.checkpoint.get("best", True)) + numbered
    return arm.parameters * (MOMENTS_BYTES + FLOAT_BYTES * weights)


def time_notes(plan: Plan) -> Iterator[str]:
    """The expected time of a sweep, after a line before it is measured; nothing if it has begun.

    Trainings of the first arm are measured for a few seconds. They may fail as any trial may; the
    sweep then prints why.
    """
    if (plan.folder / TRIALS).exists():
        return
    config, arm = plan.config, plan.arms[0]
    yield f"Time: training {arm.label} for {MEASURED_SECONDS} s to measure it …"
    if (one := measure(plan)) is None:
        return
    confirmation = len(plan.arms) * config.confirm.seeds
    rounds = math.ceil(_searched(plan) / plan.workers) + math.ceil(confirmation / plan.workers)
    low, high = (duration(factor * rounds * one) for factor in RANGE)
    may_stop = config.pruner.name != "none" or config.patience is not None
    may_stop |= arm.run.trainer.early_stopping is not None
    early = ", less where trials stop early" if may_stop else ""
    yield (
        f"Time: {low} to {high} if other arms are as fast as {arm.label}, whose training takes "
        f"about {duration(one)}{early}"
    )


def _searched(plan: Plan) -> int:
    """Number of trainings of the search."""
    return sum(map(plan.trials_of, plan.arms)) * plan.config.seeds


def measure(plan: Plan) -> float | None:
    """Seconds of a training of the first arm, from its first seconds; None if it failed.

    As many are measured as train at a time, since they share processor and memory.
    """
    arm = plan.arms[0]
    warm_up()
    context = trial_context()
    overrides = [*run_overrides(plan, arm, arm.overrides, seeds(plan)[0]), *_MEASURED]
    with TemporaryDirectory(prefix="sweep-time-") as name:
        folders = [Path(name) / str(n) for n in range(min(plan.workers, _searched(plan)))]
        jobs = [
            Job("time", "time", folder, folder / "output.txt", [(folder / "run", overrides)])
            for folder in folders
        ]
        processes = [context.Process(target=work, args=(job, None)) for job in jobs]
        try:
            for process in processes:
                process.start()
            deadline = time.monotonic() + MAX_WAIT_SECONDS
            for process in processes:
                process.join(max(0.0, deadline - time.monotonic()))
        except (EOFError, OSError):  # the fork server was killed
            return None
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()
                    process.join()
        found = [_extrapolated_run(arm.run, job) for job in jobs]
    known = [seconds for seconds in found if seconds is not None]
    return fmean(known) if known else None


def _extrapolated_run(run: Config, job: Job) -> float | None:
    if (outcome_of(job) or (None, ""))[0] != DONE:
        return None
    result = job.runs[0][0] / RESULT
    started = job.log.with_suffix(".lock").stat().st_mtime  # created when the process starts
    return extrapolated(run, read_json(result), result.stat().st_mtime - started)


def extrapolated(run: Config, result: Mapping[str, Any], seconds: float) -> float | None:
    """Seconds of a whole training whose beginning took ``seconds``, with one validation.

    None if too little of it was trained to say.
    """
    trainer, rows, compute = run.trainer, result["data"]["rows"], result["compute"]
    items, speed = trained_samples(run, rows["train"]), compute["items_per_second"]
    if not (items and speed):
        return None
    given = trainer.lightning
    validated = _limited(rows["val"], given.get("limit_val_batches"), trainer.batch_size)
    later = max(0.0, items / _between_validations(run, rows["train"]) - 1) * validated
    training = (items + _FORWARD * later) / speed
    if trainer.max_time is not None:
        from lightning.pytorch.callbacks import Timer

        training = min(training, Timer(trainer.max_time).time_remaining() or 0.0)
    return float(seconds - compute["train_seconds"] + training)


def trained_samples(run: Config, rows: int) -> float:
    """Number of samples that a training sees, of ``rows`` in an epoch."""
    trainer = run.trainer
    items = trainer.max_epochs * _epoch(run, rows)
    if trainer.max_steps >= 0:
        steps = trainer.max_steps * trainer.accumulate_grad_batches
        items = min(items, steps * trainer.batch_size)
    return items


def _epoch(run: Config, rows: int) -> float:
    trainer = run.trainer
    return _limited(rows, trainer.lightning.get("limit_train_batches"), trainer.batch_size)


def _between_validations(run: Config, rows: int) -> float:
    """Number of training samples between two validations; once an epoch if it is set in time."""
    given = run.trainer.lightning
    every, epochs = given.get("val_check_interval"), given.get("check_val_every_n_epoch") or 1
    if isinstance(every, int):
        return epochs * every * run.trainer.batch_size
    return epochs * (every if isinstance(every, float) else 1.0) * _epoch(run, rows)


def _limited(rows: int, limit: float | None, batch_size: int) -> float:
    """Rows that a limit leaves: an integer of batches, or a fraction in a float."""
    limit = 1.0 if limit is None else limit
    return min(rows, limit * (batch_size if isinstance(limit, int) else rows))
