"""Costs of a sweep, and what it cannot answer, before it starts."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks import RESULT, Config, read_json

from ..config.plan import Plan
from ..results.formatting import compact
from ..results.sweep_dir import TRIALS
from ..statistics.verdicts import MIN_SEEDS
from ..workers.forkserver import trial_context, warm_up
from ..workers.job import DONE, Job, work
from ..workers.progress import duration
from .confirmation import seeds
from .search import run_overrides

#: Bytes of a parameter in a checkpoint: float32, and two moments of an Adam optimizer.
BYTES_PER_PARAMETER = 3 * 4

#: Time to train for a measurement, and the longest to wait for it.
MEASURED_SECONDS, MAX_WAIT_SECONDS = 3, 120

#: The time of a sweep as multiples of the estimate: arms differ, and workers share memory.
RANGE = 0.7, 1.8

#: Time of a forward pass as a part of a training step.
_FORWARD = 1 / 3


def notes(plan: Plan) -> list[str]:
    """The number of trainings, the disk space, and a note if there are too few for verdicts."""
    arms, confirmed = len(plan.arms), plan.config.confirm.seeds
    trials = sum(map(plan.trials_of, plan.arms))
    search = f"{trials * plan.config.seeds} trainings to search ({trials} trials of {arms} arms)"
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


def checkpoint_bytes(plan: Plan, kept: str) -> int:
    """Bytes of all checkpoints that a sweep with ``checkpoints=all`` or ``best`` keeps."""

    def runs(trials: int) -> int:
        return plan.config.seeds * (trials if kept == "all" else 1) + plan.config.confirm.seeds

    return sum(
        BYTES_PER_PARAMETER * arm.parameters * runs(plan.trials_of(arm)) for arm in plan.arms
    )


def time_note(plan: Plan) -> str | None:
    """The expected time of a sweep; None if it has begun, or if the measurement failed.

    A training of the first arm is measured for a few seconds. It may fail as any trial may; the
    sweep then prints why.
    """
    if (plan.folder / TRIALS).exists() or (one := measure(plan)) is None:
        return None
    config, arm = plan.config, plan.arms[0]
    search = sum(map(plan.trials_of, plan.arms)) * config.seeds
    confirmation = len(plan.arms) * config.confirm.seeds
    rounds = math.ceil(search / config.workers) + math.ceil(confirmation / config.workers)
    low, high = (duration(factor * rounds * one) for factor in RANGE)
    may_stop = config.pruner.name != "none" or config.patience is not None
    early = ", less where trials stop early" if may_stop else ""
    return (
        f"Time: {low} to {high} if other arms are as fast as {arm.label}, whose training takes "
        f"about {duration(one)}{early}"
    )


def measure(plan: Plan) -> float | None:
    """Seconds of a training of the first arm, from its first seconds; None if it failed."""
    arm = plan.arms[0]
    warm_up()
    context = trial_context()
    here, there = context.Pipe()
    limit = f"trainer.max_time={{seconds: {MEASURED_SECONDS}}}"
    quiet = ["trainer.logger=[]", "trainer.callbacks=null"]  # nothing of it should stay
    overrides = [*run_overrides(plan, arm, arm.overrides, seeds(plan)[0]), *quiet, limit]
    with TemporaryDirectory(prefix="sweep-time-") as name:
        folder = Path(name)
        job = Job(folder / "output.txt", [(folder / "run", overrides)])
        process = context.Process(target=work, args=(job, there))
        try:
            process.start()
            there.close()
            outcome, _ = here.recv() if here.poll(MAX_WAIT_SECONDS) else (None, None)
        except (EOFError, OSError):  # the process or the fork server was killed
            return None
        finally:
            if process.pid is not None:
                process.kill()
                process.join()
        if outcome != DONE:
            return None
        result = folder / "run" / RESULT
        started = job.log.with_suffix(".lock").stat().st_mtime  # created when the process starts
        seconds = result.stat().st_mtime - started
        return extrapolated(arm.run, read_json(result), seconds)


def extrapolated(run: Config, result: Mapping[str, Any], seconds: float) -> float | None:
    """Seconds of a whole training whose beginning took ``seconds``, with one validation.

    None if too little of it was trained to say.
    """
    trainer, rows, compute = run.trainer, result["data"]["rows"], result["compute"]
    speed = compute["items_per_second"]
    limit, size = trainer.lightning.get("limit_train_batches"), trainer.batch_size
    limit = 1.0 if limit is None else limit
    epoch = min(rows["train"], limit * (size if isinstance(limit, int) else rows["train"]))
    if not (epoch and speed):
        return None
    items = trainer.max_epochs * epoch
    if trainer.max_steps >= 0:
        items = min(items, trainer.max_steps * size * trainer.accumulate_grad_batches)
    later = max(0.0, items / epoch - 1) * rows["val"]
    return float(seconds - compute["train_seconds"] + (items + _FORWARD * later) / speed)
