"""Execution of sweeps: search, then confirmation."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from routers import ConfigError

from ..config.plan import Plan
from ..config.sweep_folder import opened_folder
from ..driver.driver import Driver
from ..driver.progress import ProgressReporter
from ..results.sweep_dir import TRIALS
from ..storage import connect
from .confirmation import Candidate, ConfirmStage, select_candidates
from .looks import confirm
from .search import PARAMS, SearchStage, search_stages

#: The search of each plan, by the plan's name.
Searches = Mapping[str, Sequence[SearchStage]]

#: Selects what is confirmed of each plan, by the plan's name.
Selection = Callable[[Sequence[Plan], Searches], Mapping[str, Sequence[Candidate]]]


def run_sweep(plan: Plan, reporter: ProgressReporter) -> list[str]:
    """Run the search and the confirmation of a sweep; resumes a sweep that stopped.

    Returns a message for each run that is missing from the results.

    Raises:
        ConfigError: if folder, storage or engine cannot be used, if folder or storage hold another
            sweep, or if another process drives this one.
        StoppedSweepError: if a signal stopped the sweep.
    """
    with plan.engine, opened_folder(plan) as opened:
        return run_plans([opened], plan.folder, reporter, best_and_front)


def best_and_front(plans: Sequence[Plan], searches: Searches) -> Mapping[str, Sequence[Candidate]]:
    """Every arm's best trial, and the rest of the Pareto front."""
    return {plan.name: select_candidates(plan, searches[plan.name]) for plan in plans}


def run_plans(
    plans: Sequence[Plan], home: Path, reporter: ProgressReporter, select: Selection
) -> list[str]:
    """Run the searches of all plans in one queue, then their confirmations in another one.

    The folders of the plans are open, and their studies lie in one storage, by default in
    ``home``. Returns and raises as `run_sweep` does.
    """
    config = plans[0].config
    with connect.open_storage(config.storage, home) as storage:
        try:
            return _run_stages(plans, reporter, storage, select)
        except connect.STORAGE_ERRORS as error:
            return [_storage_message(config.storage, home, error)]


def _run_stages(
    plans: Sequence[Plan], reporter: ProgressReporter, storage: BaseStorage, select: Selection
) -> list[str]:
    for plan in plans:
        _check_studies_exist(plan, storage)
    driver = Driver(plans[0].engine, plans[0].config.engine["name"], reporter)
    searches = {plan.name: search_stages(plan, storage) for plan in plans}
    if stages := [stage for own in searches.values() for stage in own]:
        with reporter.reporting("search", stages):
            driver.run_all(stages)
    candidates = select(plans, searches)
    confirmations = [ConfirmStage(plan, storage, candidates[plan.name]) for plan in plans]
    confirm(confirmations, driver, reporter)
    missing = [line for plan in plans for line in _unconfirmed(plan, searches, candidates)]
    return missing + [line for stage in confirmations for line in stage.failures()]


def _unconfirmed(
    plan: Plan, searches: Searches, candidates: Mapping[str, Sequence[Candidate]]
) -> list[str]:
    """A message for each arm without a candidate."""
    found = {candidate.arm.label for candidate in candidates[plan.name]}
    labels = sorted({arm.label for arm in plan.arms} - found)
    own = searches[plan.name]
    return [plan.titled(f"{label}: {_why_unconfirmed(own, label)}") for label in labels]


def _storage_message(url: str | None, home: Path, error: Exception) -> str:
    shown = connect.without_password(connect.study_url(url, home))
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
