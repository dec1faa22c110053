"""A sweep from its plan to its answer."""

from collections.abc import Sequence

import grpc  # type: ignore[import-untyped]
import optuna
from optuna.storages import BaseStorage

from routers import ConfigError

from ..config.plan import LOCK, Plan, open_folder
from ..storage.connect import (
    LOST,
    STUDY,
    lock_of,
    lock_study,
    open_storage,
    study_url,
    without_password,
)
from ..storage.file_lock import alone
from ..workers.pool import Pool
from ..workers.progress import ProgressReporter
from .confirmation import ConfirmStage, candidates
from .search import SearchStage, search_lines


def run_sweep(plan: Plan, watch: ProgressReporter) -> list[str]:
    """Search, confirm, and leave everything in the sweep's folder; goes on where it stopped.

    Machines that share the storage share the work. Each brings the others' results into its
    folder at the end.

    Args:
        plan: of the sweep.
        watch: shows what happens.

    Returns:
        What is missing from the answer, a line for each; empty where all is there.

    Raises:
        ConfigError: where folder or storage cannot be used, or hold another sweep.
        StoppedSweepError: where a signal asked to stop.
    """
    open_folder(plan)
    with open_storage(plan.config.storage, plan.folder) as storage:
        try:
            return _worked_off(plan, watch, storage)
        except LOST as error:
            return [_lost(plan, error)]


def _worked_off(plan: Plan, watch: ProgressReporter, storage: BaseStorage) -> list[str]:
    _refuse_orphans(plan, storage)
    lock = lock_of(plan.config.storage, plan.folder, storage, plan.name)
    lines = search_lines(plan, storage, lock)
    if plan.sends:
        for line in lines:
            line.upload_missing()
    with watch.showing("search", lines):
        Pool(plan.config.workers, watch).run_all(lines)
    found = candidates(plan, lines)
    confirmed = ConfirmStage(plan, storage, lock, found)
    if plan.sends:
        confirmed.upload_missing()
    with watch.showing("confirmation", [confirmed]):
        Pool(plan.config.workers, watch).run_all([confirmed])
    with alone(plan.folder / LOCK):
        absent = [text for line in (*lines, confirmed) for text in line.gather()]
    missing = {arm.label for arm in plan.arms} - {candidate.arm.label for candidate in found}
    return [
        *(f"{label}: {_why(lines, label)}" for label in sorted(missing)),
        *confirmed.failures(),
        *absent,
    ]


def _lost(plan: Plan, error: Exception) -> str:
    shown = without_password(study_url(plan.config.storage, plan.folder))
    cause = error.__cause__ or error
    words = str(cause.details() if isinstance(cause, grpc.Call) else cause).splitlines()
    return (
        f"storage={shown}: failed ({next(iter(words), type(cause).__name__)}); what it holds is "
        "not lost, and trials left checkpoints: the same command goes on once it answers again"
    )


def _refuse_orphans(plan: Plan, storage: BaseStorage) -> None:
    """Runs whose study is gone would be taken for those of a new one."""
    begun = any((plan.folder / "trials").glob("*/*/seed-*"))
    own = f"{plan.name}/"
    names = [name for name in optuna.get_all_study_names(storage) if name.startswith(own)]
    if begun and not {*names} - {lock_study(plan.name)}:
        raise ConfigError(
            f"out={plan.folder}: holds trials, and the storage no study of them; bring back "
            f"{STUDY} (or the storage), or choose another out"
        )


def _why(lines: Sequence[SearchStage], label: str) -> str:
    """Why an arm has nothing to confirm."""
    trials = [
        trial
        for line in lines
        for trial in line.queue.trials()
        if trial.state.is_finished() and line.arm(trial).label == label
    ]
    errors = [trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs]
    if errors:
        return f"no trial completed; the last one: {errors[-1]}"
    return "no trial completed within the constraints"
