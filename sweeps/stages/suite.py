"""Execution of a suite: the sweeps of its benchmarks, with one queue and one storage."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from optuna.trial import FrozenTrial
from scipy.stats import rankdata

from ..config.compose import SWEEP_FILE
from ..config.plan import Plan
from ..config.suite_plan import SuitePlan
from ..config.sweep_folder import identified, make_folder, written_settings
from ..driver.progress import ProgressReporter
from ..results.suite_dir import PROTOCOL
from ..storage.driver_lock import driving
from .confirmation import Candidate, select_candidates
from .protocol import update_protocol
from .search import SearchStage, ranked
from .sweep import Searches, Selection, run_plans


def run_suite(suite: SuitePlan, reporter: ProgressReporter) -> list[str]:
    """Run all benchmarks of a suite; resumes a suite that stopped.

    Returns a message for each run that is missing from the results.

    Raises:
        ConfigError: if folder, storage or engine cannot be used, if the folder holds another
            suite, or if another process drives this one.
        StoppedSweepError: if a signal stopped the suite.
    """
    with suite.engine, opened_suite(suite) as plans:
        return run_plans(plans, suite.folder, reporter, SELECTIONS[suite.config.tuning])


@contextmanager
def opened_suite(suite: SuitePlan) -> Iterator[Sequence[Plan]]:
    """Drive a suite in its folder; the context gives the plans with identities.

    Everything is checked before the protocol is written.
    """
    make_folder(suite.folder, PROTOCOL)
    with driving(suite.folder):
        for plan in suite.plans:
            make_folder(plan.folder, SWEEP_FILE)
            written_settings(plan)
        update_protocol(suite)
        yield [identified(plan) for plan in suite.plans]


def best(plans: Sequence[Plan], searches: Searches) -> Mapping[str, Sequence[Candidate]]:
    """Every arm's best trial in each benchmark, or its defaults without a search."""
    return {
        plan.name: [
            candidate
            for candidate in select_candidates(plan, searches[plan.name])
            if candidate.label == candidate.arm.label
        ]
        for plan in plans
    }


def shared_setting(plans: Sequence[Plan], searches: Searches) -> Mapping[str, Sequence[Candidate]]:
    """The trial of each arm with the best mean rank over benchmarks, which is the same in all.

    Trials of a number have the same parameters in every benchmark. The rank in a benchmark is by
    the validation score, divided by the number of trials; only trials that completed within the
    constraints of every benchmark of the arm count. Ties go to the first trial.
    """
    found: dict[str, list[Candidate]] = {plan.name: [] for plan in plans}
    for label in dict.fromkeys(arm.label for plan in plans for arm in plan.arms):
        parts = [
            (plan, stage) for plan in plans for stage in searches[plan.name] if label in stage.arms
        ]
        number = best_shared_number([_valid(plan, stage) for plan, stage in parts])
        if number is None:
            continue
        for plan, stage in parts:
            trial = stage.queue.trials()[number]
            arm = stage.arms[label]
            own = Candidate(label, arm.slug, arm, trial, stage.overrides(trial), pareto=False)
            found[plan.name].append(own)
    return found


def best_shared_number(values: Sequence[Mapping[int, float]]) -> int | None:
    """The trial number with the least mean normalised rank over benchmarks.

    ``values`` are those of one benchmark by trial number, less is better. None if no number is in
    all of them.

    >>> best_shared_number([{0: 0.1, 1: 0.2, 2: 0.3}, {0: 9.0, 1: 4.0, 2: 5.0}])
    1
    """
    common = sorted(set.intersection(*(set(each) for each in values))) if values else []
    if not common:
        return None
    ranks = [rankdata([each[number] for number in common]) / len(common) for each in values]
    means = [sum(each) for each in zip(*ranks, strict=True)]
    return common[means.index(min(means))]


def _valid(plan: Plan, stage: SearchStage) -> dict[int, float]:
    """The first objective, to minimize, of trials within the constraints by number."""
    sign = plan.objectives[0].sign
    trials: Sequence[FrozenTrial] = ranked(stage.queue.trials(), plan.objectives)
    return {trial.number: sign * trial.values[0] for trial in trials}


#: How settings are selected, by the suite's ``tuning``.
SELECTIONS: Mapping[str, Selection] = {
    "none": best,
    "per_benchmark": best,
    "shared": shared_setting,
}
