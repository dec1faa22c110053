"""Execution of a sweep: search, then confirmation."""

from collections.abc import Sequence

import optuna
from optuna.storages import BaseStorage

from routers import ConfigError

from ..config.plan import Plan, opened_folder
from ..driver.driver import Driver
from ..driver.progress import ProgressReporter
from ..results.sweep_dir import TRIALS
from ..storage import connect
from .confirmation import ConfirmStage, select_candidates
from .search import PARAMS, SearchStage, search_stages


def run_sweep(plan: Plan, reporter: ProgressReporter) -> list[str]:
    """Run the search and the confirmation of a sweep; resumes a sweep that stopped.

    Returns a message for each run that is missing from the results.

    Raises:
        ConfigError: if folder, storage or engine cannot be used, if folder or storage hold another
            sweep, or if another process drives this one.
        StoppedSweepError: if a signal stopped the sweep.
    """
    with (
        plan.engine,
        opened_folder(plan) as opened,
        connect.open_storage(plan.config.storage, plan.folder) as storage,
    ):
        try:
            return _run_stages(opened, reporter, storage)
        except connect.STORAGE_ERRORS as error:
            return [_storage_message(plan, error)]


def _run_stages(plan: Plan, reporter: ProgressReporter, storage: BaseStorage) -> list[str]:
    _check_studies_exist(plan, storage)
    driver = Driver(plan.engine, plan.config.engine["name"], reporter)
    searches = search_stages(plan, storage)
    with reporter.reporting("search", searches):
        driver.run_all(searches)
    candidates = select_candidates(plan, searches)
    confirmation = ConfirmStage(plan, storage, candidates)
    with reporter.reporting("confirmation", [confirmation]):
        driver.run_all([confirmation])
    missing = {arm.label for arm in plan.arms} - {candidate.arm.label for candidate in candidates}
    return [
        *(f"{label}: {_why_unconfirmed(searches, label)}" for label in sorted(missing)),
        *confirmation.failures(),
    ]


def _storage_message(plan: Plan, error: Exception) -> str:
    shown = connect.without_password(connect.study_url(plan.config.storage, plan.folder))
    cause = error.__cause__ or error
    lines = str(cause).splitlines()
    return (
        f"storage={shown}: failed ({next(iter(lines), type(cause).__name__)}); no results are "
        "lost, and trials wrote checkpoints: when the storage answers again, run the same command "
        "to continue"
    )


def _check_studies_exist(plan: Plan, storage: BaseStorage) -> None:
    """Raise ``ConfigError`` for runs of which neither folder nor storage has the parameters."""
    runs = (plan.folder / TRIALS).glob("*/*/seed-*")
    has_unknown = not all((run.parent / PARAMS).exists() for run in runs)
    names = optuna.get_all_study_names(storage)
    if has_unknown and not any(name.startswith(f"{plan.name}/") for name in names):
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
