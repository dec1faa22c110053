"""Execution of a sweep: search, then confirmation."""

from collections.abc import Sequence

import grpc  # type: ignore[import-untyped]
import optuna
from optuna.storages import BaseStorage

from routers import ConfigError
from tasks import file_lock

from ..config.plan import LOCK, Plan, open_folder
from ..storage import connect
from ..workers.artifacts import download_missing, upload_missing
from ..workers.pool import Pool
from ..workers.progress import ProgressReporter
from .confirmation import ConfirmStage, select_candidates
from .search import SearchStage, search_stages


def run_sweep(plan: Plan, reporter: ProgressReporter) -> list[str]:
    """Run the search and the confirmation of a sweep; resumes a sweep that stopped.

    Machines that share the storage share the trials. Each downloads the results of the others to
    its folder at the end. Returns a message for each run that is missing from the results.

    Raises:
        ConfigError: if folder or storage cannot be used, or hold another sweep.
        StoppedSweepError: if a signal stopped the sweep.
    """
    open_folder(plan)
    with connect.open_storage(plan.config.storage, plan.folder) as storage:
        try:
            return _run_stages(plan, reporter, storage)
        except connect.STORAGE_ERRORS as error:
            return [_storage_message(plan, error)]


def _run_stages(plan: Plan, reporter: ProgressReporter, storage: BaseStorage) -> list[str]:
    _check_studies_exist(plan, storage)
    lock = connect.sweep_lock(plan.config.storage, plan.folder, storage, plan.name)
    searches = search_stages(plan, storage, lock)
    if plan.uploads:
        for stage in searches:
            upload_missing(stage)
    with reporter.reporting("search", searches):
        Pool(plan.config.workers, reporter).run_all(searches)
    candidates = select_candidates(plan, searches)
    confirmation = ConfirmStage(plan, storage, lock, candidates)
    if plan.uploads:
        upload_missing(confirmation)
    with reporter.reporting("confirmation", [confirmation]):
        Pool(plan.config.workers, reporter).run_all([confirmation])
    with file_lock(plan.folder / LOCK):
        absent = [text for stage in (*searches, confirmation) for text in download_missing(stage)]
    missing = {arm.label for arm in plan.arms} - {candidate.arm.label for candidate in candidates}
    return [
        *(f"{label}: {_why_unconfirmed(searches, label)}" for label in sorted(missing)),
        *confirmation.failures(),
        *absent,
    ]


def _storage_message(plan: Plan, error: Exception) -> str:
    shown = connect.without_password(connect.study_url(plan.config.storage, plan.folder))
    cause = error.__cause__ or error
    lines = str(cause.details() if isinstance(cause, grpc.Call) else cause).splitlines()
    return (
        f"storage={shown}: failed ({next(iter(lines), type(cause).__name__)}); no results are "
        "lost, and trials wrote checkpoints: when the storage answers again, run the same command "
        "to continue"
    )


def _check_studies_exist(plan: Plan, storage: BaseStorage) -> None:
    """Raise ``ConfigError`` for runs without a study: a new study would adopt their results."""
    has_runs = any((plan.folder / "trials").glob("*/*/seed-*"))
    prefix = f"{plan.name}/"
    names = [name for name in optuna.get_all_study_names(storage) if name.startswith(prefix)]
    if has_runs and not {*names} - {connect.lock_study(plan.name)}:
        raise ConfigError(
            f"out={plan.folder}: holds trials, but the storage has no study of them; restore "
            f"{connect.STUDY} (or the storage), or choose another out"
        )


def _why_unconfirmed(stages: Sequence[SearchStage], label: str) -> str:
    """The reason why no trial of an arm was confirmed."""
    errors = [
        trial.user_attrs["error"]
        for stage in stages
        for trial in stage.queue.trials()
        if trial.state.is_finished() and stage.arm(trial).label == label
        if "error" in trial.user_attrs
    ]
    if errors:
        return f"no trial completed; the last one: {errors[-1]}"
    return "no trial completed within the constraints"
