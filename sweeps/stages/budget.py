"""Costs of a sweep, and what it cannot answer, before it starts."""

import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from tasks import RESULT, Config, read_json

from ..config.arms import Arm
from ..config.confirm import MIN_SEEDS
from ..config.plan import Plan
from ..driver.progress import duration
from ..results.formatting import compact
from ..results.sweep_dir import CONFIRMED, TRIALS
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


def notes(plans: Sequence[Plan], folder: Path) -> list[str]:
    """The number of trainings, the disk space, and a note if there are too few for verdicts.

    ``folder`` holds all plans.
    """
    trials = sum(plan.trials_of(arm) for plan in plans for arm in plan.arms)
    arms = sum(len(plan.arms) for plan in plans)
    search = f"{sum(map(_searched, plans))} trainings to search ({trials} trials of {arms} arms), "
    least, most = sum(map(_confirmed, plans)), sum(map(_confirmed_at_most, plans))
    budget = f"Budget: {search if trials else ''}at least {least} to confirm"
    budget += f", {most} if all verdicts stay open" if most > least else ""
    lines = [budget, disk_note(plans, folder)]
    if (seeds := plans[0].config.confirm.plan.first) < MIN_SEEDS:
        lines.append(f"confirm.seeds={seeds} allows no verdicts: they need at least {MIN_SEEDS}")
    return lines


def disk_note(plans: Sequence[Plan], folder: Path) -> str:
    """The disk space that checkpoints take at the end of all plans."""
    needed = {k: sum(checkpoint_bytes(plan, k) for plan in plans) for k in ("all", "best")}
    needed["none"] = 0
    kept = plans[0].config.checkpoints
    note = f"Disk: about {compact(needed[kept])}B of checkpoints (checkpoints={kept})"
    if needed[kept] > needed["best"]:
        note += f", {compact(needed['best'])}B with checkpoints=best"
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return note + (f"; only {compact(free)}B are free in {existing}" if free < needed[kept] else "")


def checkpoint_bytes(plan: Plan, kept: str) -> float:
    """Bytes of all checkpoints that a sweep with ``checkpoints=all`` or ``best`` keeps."""

    def runs(trials: int) -> int:
        kept_trials = trials if kept == "all" else min(1, trials)
        return plan.config.seeds * kept_trials + plan.config.confirm.plan.most

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


def time_notes(plans: Sequence[Plan]) -> Iterator[str]:
    """The expected time of all plans, after a line before each is measured; nothing if begun.

    Trainings of the first arm are measured for a few seconds. They may fail as any trial may; the
    sweep then prints why.
    """
    if any((plan.folder / part).exists() for plan in plans for part in (TRIALS, CONFIRMED)):
        return
    least, most, measured = 0.0, 0.0, []
    for plan in plans:
        label = plan.titled(plan.arms[0].label)
        yield f"Time: training {label} for {MEASURED_SECONDS} s to measure it …"
        if (one := measure(plan)) is None:
            return
        searched, confirmed, all_confirmed = (
            one * math.ceil(count(plan) / plan.workers)
            for count in (_searched, _confirmed, _confirmed_at_most)
        )
        least, most = least + searched + confirmed, most + searched + all_confirmed
        measured.append(f"{label}, whose training takes about {duration(one)}")
    low, high = duration(RANGE[0] * least), duration(RANGE[1] * most)
    early = ", less where trials stop early" if any(map(_may_stop, plans)) else ""
    yield f"Time: {low} to {high} if other arms are as fast as {'; '.join(measured)}{early}"


def _may_stop(plan: Plan) -> bool:
    """Whether trainings may end before their last epoch, or a search before its last trial."""
    has_pruner = plan.config.pruner.name != "none" or plan.config.patience is not None
    return has_pruner or plan.arms[0].run.trainer.early_stopping is not None


def _searched(plan: Plan) -> int:
    """Number of trainings of the search."""
    return sum(map(plan.trials_of, plan.arms)) * plan.config.seeds


def _confirmed(plan: Plan) -> int:
    """Least number of trainings of the confirmation."""
    return len(plan.arms) * plan.config.confirm.plan.first


def _confirmed_at_most(plan: Plan) -> int:
    """Number of trainings of the confirmation if verdicts of all arms stay open."""
    return len(plan.arms) * plan.config.confirm.plan.most


def measure(plan: Plan) -> float | None:
    """Seconds of a training of the first arm, from its first seconds; None if it failed.

    As many are measured as train at a time, since they share processor and memory.
    """
    arm = plan.arms[0]
    warm_up()
    context = trial_context()
    overrides = [*run_overrides(plan, arm, arm.overrides, seeds(plan)[0]), *_MEASURED]
    with TemporaryDirectory(prefix="sweep-time-") as name:
        folders = [Path(name) / str(n) for n in range(min(plan.workers, _confirmed(plan)))]
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
