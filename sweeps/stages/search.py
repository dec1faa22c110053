"""Search stage: trials of an arm, or of all arms in a joint study."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from routers import ConfigError, OptionError
from tasks import RESULT, read_json, write_json

from ..config.arms import Arm
from ..config.objectives import searched
from ..config.plan import Plan, check_unchanged, comparable
from ..results.sweep_dir import TRIALS
from ..search.halving import PRUNERS, rungs
from ..search.samplers import ReseededSampler
from ..search.space import ARM, Space, as_overrides, defaults, grid, join_spaces, suggest
from ..storage.file_lock import Lock
from ..workers.artifacts import SEARCH_FILES, encode
from ..workers.job import Job
from ..workers.queue import Queue, TrialSpec
from ..workers.stage import Stage

#: Settings of every run of a sweep, which has no terminal for a progress bar.
QUIET = ("trainer.progress=false",)

#: File in the sweep's folder with the identity of each study whose runs the folder holds.
STUDY_IDS = "studies.json"

#: Attribute of a study with its identity.
IDENTITY = "identity"


class SearchStage(Stage):
    """The trials of one study, one for each of ``specs``.

    ``arms`` are by label, several in a joint study; ``lock`` is held while a study changes.
    """

    files = SEARCH_FILES

    def __init__(
        self,
        plan: Plan,
        storage: BaseStorage,
        lock: Lock,
        title: str,
        arms: Mapping[str, Arm],
        space: Space,
        specs: Sequence[TrialSpec],
    ) -> None:
        config = plan.config
        self.plan = plan
        self.title = title
        self.arms = arms
        self.space = space
        self.queue = Queue(
            f"{plan.name}/{title}",
            storage,
            directions=[objective.direction for objective in plan.objectives],
            sampler=ReseededSampler(config.sampler, config.seed, title),
            lock=lock,
            retries=config.retries,
            is_closed=lambda: self.exhausted,
        )
        homes = [plan.folder / TRIALS / arm.slug for arm in arms.values()]
        with lock():
            _check_plan(self.queue, plan)
            has_runs = any(any(home.glob("*/seed-*")) for home in homes)
            _check_same_study(self.queue.study, plan.folder, has_runs)
        self.queue.set_metric_names([objective.metric for objective in plan.objectives])
        self.queue.fill(specs)

    def suggest(self, trial: Trial) -> None:
        values = suggest(self.space, trial)
        arm = self.arm(trial)
        trial.set_user_attr("arm", arm.label)
        trial.set_user_attr("overrides", [*arm.overrides, *as_overrides(self.space, values)])

    def job(self, trial: Trial) -> Job:
        config, arm = self.plan.config, self.arm(trial)
        overrides = [*config.run, *trial.user_attrs["overrides"], *QUIET, threads(config, arm)]
        halving = config.pruner.name != "none"
        epochs = arm.run.trainer.max_epochs
        return Job(
            log=self.folder(trial) / "output.txt",
            runs=[
                (path, [*overrides, f"seed={seed}"])
                for seed, path in enumerate(self.run_dirs(trial))
            ],
            metrics=[objective.metric for objective in self.plan.objectives],
            rungs=rungs(config.pruner.first, config.pruner.factor, epochs) if halving else (),
        )

    def finish(self, trial: Trial) -> str:
        runs = self.run_dirs(trial)
        if self.plan.uploads:
            self.queue.set_attrs(trial, encode(runs, self.files))
        results = [read_json(path / RESULT) for path in runs]
        objectives = self.plan.objectives
        values = {each.metric: searched(results, each.metric) for each in objectives}
        bounds = {each: searched(results, each.metric) for each in self.plan.constraints}
        missing = [name for name, value in values.items() if not _is_finite(value)]
        missing += [each.metric for each, value in bounds.items() if not _is_finite(value)]
        if missing:
            reason = f"{', '.join(missing)}: not a number in the results"
            self.queue.fail(trial, reason)
            return reason
        with suppress(UpdateFinishedTrialError):  # it was declared dead and finished elsewhere
            for each, value in bounds.items():
                if each.text not in trial.constraints:
                    trial.set_constraint(each.text, each.violation(float(value or 0)))
        self.queue.tell(trial, TrialState.COMPLETE, [float(v or 0) for v in values.values()])
        return "  ".join(f"{name} {value:.4g}" for name, value in values.items())

    def should_continue(self, trial: Trial, epoch: int, values: Mapping[str, float]) -> bool:
        known = [each for each in self.plan.objectives if each.metric in values]
        own = [each.sign * values[each.metric] for each in known]
        key = f"rung {epoch}"
        self.queue.set_attrs(trial, {key: own})
        others = [
            other.user_attrs[key]
            for other in self.queue.trials()
            if key in other.user_attrs and other.number != trial.number
        ]
        if not all(map(math.isfinite, own)):
            return True  # the run fails later, with an error that explains it
        pruner = self.plan.config.pruner
        return PRUNERS[pruner.name](own, others, pruner.factor)

    @property
    def is_open(self) -> bool:
        return self.queue.is_open and not (self.exhausted and self.queue.idle)

    @property
    def accepts_trials(self) -> bool:
        return not self.exhausted

    def best(self) -> float | None:
        sign = self.plan.objectives[0].sign
        values = [t.values[0] for t in self.queue.trials() if t.state == TrialState.COMPLETE]
        return min(values, key=lambda value: sign * value, default=None)

    @property
    def exhausted(self) -> bool:
        """Whether ``patience`` trials in a row were no better, so that no more start."""
        patience = self.plan.config.patience
        return patience is not None and self.since_better() >= patience

    def since_better(self) -> int:
        """Number of trials finished after the best one by the first objective."""
        sign = self.plan.objectives[0].sign
        best, since = math.inf, 0
        finished = [trial for trial in self.queue.trials() if trial.state.is_finished()]
        for trial in sorted(finished, key=lambda each: each.datetime_complete or datetime.max):
            value = sign * trial.values[0] if trial.state == TrialState.COMPLETE else math.inf
            best, since = (value, 0) if value < best else (best, since + 1)
        return since

    def arm(self, trial: Trial | FrozenTrial) -> Arm:
        """The arm of a trial."""
        return self.arms[trial.params.get(ARM, next(iter(self.arms)))]

    def folder(self, trial: Trial | FrozenTrial) -> Path:
        """The folder of a trial."""
        return self.plan.folder / TRIALS / self.arm(trial).slug / f"{trial.number:04d}"

    def run_dirs(self, trial: Trial | FrozenTrial) -> list[Path]:
        """Folders of a trial's runs, for seeds from 0."""
        folder = self.folder(trial)
        return [folder / f"seed-{seed}" for seed in range(self.plan.config.seeds)]


def search_stages(plan: Plan, storage: BaseStorage, lock: Lock) -> list[SearchStage]:
    """One stage for each arm, or one for all of them in a joint study."""
    if plan.config.study == "per_arm":
        stages = []
        for arm in plan.arms:
            space, own = plan.spaces[arm.label], {arm.label: arm}
            specs = _specs(plan, space, plan.trials_of(arm))
            stages.append(SearchStage(plan, storage, lock, arm.label, own, space, specs))
        return stages
    space = join_spaces(plan.spaces)
    trials = sum(plan.trials_of(arm) for arm in plan.arms)
    firsts = [TrialSpec(defaults(space, {ARM: arm.label}), {}) for arm in plan.arms]
    specs = [*firsts, *_specs(plan, space, trials)[1:]][:trials]
    specs += [TrialSpec({}, {})] * (trials - len(specs))
    arms = {arm.label: arm for arm in plan.arms}
    return [SearchStage(plan, storage, lock, "joint", arms, space, specs)]


def _specs(plan: Plan, space: Space, trials: int) -> list[TrialSpec]:
    """The points of a grid; else the defaults, then trials that the sampler suggests."""
    points: list[dict[str, Any]] = [defaults(space), *({} for _ in range(trials - 1))]
    if plan.config.sampler == "grid":
        points = grid(space)
        if len(points) > trials:
            expected = f"an integer >= {len(points)}, the number of points of the largest grid"
            raise OptionError("trials", trials, expected)
    return [TrialSpec(params, {}) for params in points]


def _check_plan(queue: Queue, plan: Plan) -> None:
    """Raise ``ConfigError`` if another sweep that shares the storage owns the study."""
    current = comparable(plan)
    stored = queue.study.user_attrs.get("plan")
    if stored is None and not queue.trials():
        queue.study.set_user_attr("plan", current)
        return
    if stored is None:
        raise ConfigError(f"storage: the study {queue.name!r} is not of a sweep; choose another")
    check_unchanged(f"storage: the study {queue.name!r}", json.loads(stored), json.loads(current))


def _check_same_study(study: Study, folder: Path, has_runs: bool) -> None:
    """Check that the runs in a folder belong to a study; the first call records its identity.

    A study that was deleted and recreated under the same name has another identity: results in
    the folder would be attributed to its trials, so ``ConfigError`` is raised.
    """
    identity = study.user_attrs.get(IDENTITY)
    if identity is None:
        identity = uuid4().hex
        study.set_user_attr(IDENTITY, identity)
    path = folder / STUDY_IDS
    known = read_json(path) if path.exists() else {}
    if has_runs and known.get(study.study_name, identity) != identity:
        raise ConfigError(
            f"out={folder}: holds trials of another study than the storage's "
            f"{study.study_name!r}, which was recreated; restore the storage, or choose another out"
        )
    if known.get(study.study_name) != identity:
        write_json(path, {**known, study.study_name: identity})


def threads(config: Any, arm: Arm) -> str:
    """Override for a worker's share of the machine's threads, at most what the arm requests."""
    total = config.threads or len(os.sched_getaffinity(0))
    share = max(1, total // config.workers)
    return f"trainer.threads={min(share, arm.run.trainer.threads or share)}"


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
