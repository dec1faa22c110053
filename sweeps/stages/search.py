"""Search stage: trials of an arm, or of all arms in a joint study."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from routers import ConfigError, OptionError
from tasks import RESULT, read_json, write_json

from ..config.arms import Arm, slug
from ..config.objectives import Objective, searched
from ..config.plan import Plan
from ..config.sweep_folder import check_unchanged, comparable_settings
from ..driver.queue import Queue, TrialSpec
from ..driver.stage import Stage
from ..results.sweep_dir import TRIALS
from ..search.halving import rungs
from ..search.rungs import Rungs
from ..search.samplers import ReseededSampler
from ..search.space import ARM, Space, as_overrides, defaults, grid, join_spaces, suggest
from ..workers.job import Job

#: File in a trial's folder with its parameters, from which a study that was lost is made again.
PARAMS = "params.json"


class SearchStage(Stage):
    """The trials of one study, one for each of ``points``; a joint study has several ``arms``."""

    def __init__(
        self,
        plan: Plan,
        storage: BaseStorage,
        title: str,
        arms: Sequence[Arm],
        space: Space,
        points: Sequence[Mapping[str, Any]],
    ) -> None:
        config = plan.config
        self.plan, self.title, self.space = plan, plan.titled(title), space
        self.arms = {arm.label: arm for arm in arms}
        self.queue = Queue(
            f"{plan.name}/{title}",
            storage,
            directions=[objective.direction for objective in plan.objectives],
            sampler=ReseededSampler(config.sampler, config.seed, title),
            retries=config.retries,
            is_closed=self.is_exhausted,
        )
        _check_study(self.queue, plan)
        self.queue.study.set_metric_names([objective.metric for objective in plan.objectives])
        self.queue.fill(
            TrialSpec(self._recorded(number) or point, {}) for number, point in enumerate(points)
        )

    def suggest(self, trial: Trial) -> None:
        suggest(self.space, trial)
        trial.set_user_attr("arm", self.arm(trial).label)
        trial.set_user_attr("overrides", self.overrides(trial))  # for people, and never read
        recorded = self._recorded(trial.number)
        if recorded is None:
            self.folder(trial).mkdir(parents=True, exist_ok=True)
            write_json(self.folder(trial) / PARAMS, trial.params)
        elif recorded != trial.params:
            raise ConfigError(
                f"storage: the study {self.queue.name!r} is older than the folder of its trial "
                f"{trial.number}; move it away, and the same command makes it again from the "
                "results"
            )

    def _recorded(self, number: int) -> dict[str, Any] | None:
        """The parameters in the folder of a trial, if it was started."""
        folders = (self.plan.folder / TRIALS / arm.slug for arm in self.arms.values())
        paths = [folder / f"{number:04d}" / PARAMS for folder in folders]
        return next((dict(read_json(path)) for path in paths if path.exists()), None)

    def job(self, trial: Trial) -> Job:
        arm, own = self.arm(trial), self.overrides(trial)
        folders = enumerate(self.run_dirs(trial))
        runs = [(path, run_overrides(self.plan, arm, own, seed)) for seed, path in folders]
        log = self.folder(trial) / "output.txt"
        return new_job(self.plan, arm, self.queue, trial, log, runs, self._rungs(arm))

    def _rungs(self, arm: Arm) -> Rungs | None:
        pruner = self.plan.config.pruner
        if pruner.name == "none":
            return None
        return Rungs(
            epochs=rungs(pruner.first, pruner.factor, arm.run.trainer.max_epochs),
            signs={objective.metric: objective.sign for objective in self.plan.objectives},
            pruner=pruner.name,
            factor=pruner.factor,
            folders=[self.plan.folder / TRIALS / each.slug for each in self.arms.values()],
        )

    def finish(self, trial: Trial) -> str:
        results = [read_json(path / RESULT) for path in self.run_dirs(trial)]
        objectives, constraints = self.plan.objectives, self.plan.constraints
        metrics = [each.metric for each in objectives] + [each.metric for each in constraints]
        values = {metric: searched(results, metric) for metric in metrics}
        if missing := [metric for metric in metrics if not math.isfinite(values[metric])]:
            reason = f"{', '.join(missing)}: not a number in the results"
            self.queue.fail(trial, reason)
            return reason
        for constraint in constraints:
            if constraint.text not in trial.constraints:  # a killed driver may have set it
                violation = constraint.violation(values[constraint.metric])
                trial.set_constraint(constraint.text, violation)
        own = {each.metric: values[each.metric] for each in objectives}
        self.queue.tell(trial, TrialState.COMPLETE, list(own.values()))
        return "  ".join(f"{metric} {value:.4g}" for metric, value in own.items())

    def kept_checkpoints(self) -> set[int] | None:
        if self.plan.config.checkpoints == "all":
            return None
        if self.plan.config.checkpoints == "none":
            return set()
        order = ranked(self.queue.trials(), self.plan.objectives)
        best = {self.arm(trial).label: trial.number for trial in reversed(order)}
        return set(best.values())

    def best(self) -> float | None:
        sign = self.plan.objectives[0].sign
        values = [t.values[0] for t in self.queue.trials() if t.state == TrialState.COMPLETE]
        return min(values, key=lambda value: sign * value, default=None)

    def is_exhausted(self) -> bool:
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
        """The arm of a trial.

        Raises:
            ConfigError: if the sweep does not have it.
        """
        label = trial.params.get(ARM, next(iter(self.arms)))
        if label not in list(self.arms):
            raise self._foreign(trial, f"{ARM}={label!r}: not an arm of this sweep")
        return self.arms[label]

    def overrides(self, trial: Trial | FrozenTrial) -> list[str]:
        """Overrides that distinguish the runs of a trial, from its parameters.

        Raises:
            ConfigError: if they are not in the search space; the storage may contain anything,
                and overrides determine which code runs.
        """
        try:
            return [*self.arm(trial).overrides, *as_overrides(self.space, trial.params)]
        except ConfigError as error:
            raise self._foreign(trial, str(error)) from error

    def _foreign(self, trial: Trial | FrozenTrial, problem: str) -> ConfigError:
        return ConfigError(
            f"storage: trial {trial.number} of the study {self.queue.name!r} is not of this sweep: "
            f"{problem}. Choose another storage, or a sweep of another name"
        )

    def folder(self, trial: Trial | FrozenTrial) -> Path:
        """The folder of a trial."""
        return self.plan.folder / TRIALS / self.arm(trial).slug / f"{trial.number:04d}"

    def run_dirs(self, trial: Trial | FrozenTrial) -> list[Path]:
        """Folders of a trial's runs, for seeds from 0."""
        folder = self.folder(trial)
        return [folder / f"seed-{seed}" for seed in range(self.plan.config.seeds)]


def ranked(trials: Iterable[FrozenTrial], objectives: Sequence[Objective]) -> list[FrozenTrial]:
    """Complete trials within the constraints; the best by the objectives in turn come first."""
    signs = [objective.sign for objective in objectives]
    valid = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and all(violation <= 0 for violation in trial.constraints.values())
    ]

    def order(trial: FrozenTrial) -> tuple[list[float], int]:
        return [s * v for s, v in zip(signs, trial.values, strict=True)], trial.number

    return sorted(valid, key=order)


def search_stages(plan: Plan, storage: BaseStorage) -> list[SearchStage]:
    """One stage for each arm, or one for all of them in a joint study; none without trials."""
    if plan.config.trials == 0:
        return []
    if plan.config.study == "per_arm":
        stages = []
        for arm in plan.arms:
            space = plan.spaces[arm.label]
            points = _points(plan, space, plan.trials_of(arm))
            stages.append(SearchStage(plan, storage, arm.label, [arm], space, points))
        return stages
    space = join_spaces(plan.spaces)
    trials = sum(plan.trials_of(arm) for arm in plan.arms)
    firsts = [defaults(space, {ARM: arm.label}) for arm in plan.arms]
    points = [*firsts, *_points(plan, space, trials)[1:], *({} for _ in range(trials))][:trials]
    return [SearchStage(plan, storage, "joint", plan.arms, space, points)]


def _points(plan: Plan, space: Space, trials: int) -> list[dict[str, Any]]:
    """The points of a grid; else the defaults, then trials that the sampler suggests."""
    if plan.config.sampler != "grid":
        return [defaults(space), *({} for _ in range(trials - 1))]
    points = grid(space)
    if len(points) > trials:
        expected = f"an integer >= {len(points)}, the number of points of the largest grid"
        raise OptionError("trials", trials, expected)
    return points


def _check_study(queue: Queue, plan: Plan) -> None:
    """Raise ``ConfigError`` if a study is of another sweep, or of this one in another folder.

    In another folder its trials have other results, and another driver.
    """
    where, attrs = f"storage: the study {queue.name!r}", queue.study.user_attrs
    if "plan" not in attrs and queue.trials():
        raise ConfigError(f"{where} is not of a sweep; choose another")
    if "plan" in attrs:
        check_unchanged(where, json.loads(attrs["plan"]), plan)
    if attrs.get("folder", plan.identity) != plan.identity:
        raise ConfigError(
            f"{where} belongs to another folder than out={plan.folder}; give that one as out, or "
            "another storage, or another name of the sweep"
        )
    if "plan" not in attrs:
        comparable = json.dumps(comparable_settings(plan.to_dict()), sort_keys=True)
        queue.study.set_user_attr("plan", comparable)
        queue.study.set_user_attr("folder", plan.identity)


def new_job(
    plan: Plan,
    arm: Arm,
    queue: Queue,
    trial: Trial,
    log: Path,
    runs: Sequence[tuple[Path, Sequence[str]]],
    rungs: Rungs | None = None,
) -> Job:
    """The job of a trial of an arm; its name is that of the study, the trial and the folder."""
    return Job(
        name=f"{slug(queue.name)}-{trial.number:04d}-{plan.identity}",
        sweep=f"{slug(plan.name)}-{plan.identity}",
        home=plan.folder,
        log=log,
        runs=runs,
        devices=arm.run.trainer.devices,
        rungs=rungs,
    )


def run_overrides(plan: Plan, arm: Arm, own: Sequence[str], seed: int) -> list[str]:
    """Overrides of a run, without progress bar, and with its share of the threads.

    ``own`` are those that distinguish it from runs of other arms and trials.
    """
    from joblib import cpu_count  # type: ignore[import-untyped]  # those of this process: affinity and quota of a container

    config = plan.config
    total = config.threads or cpu_count()
    share = plan.engine.cpus or max(1, total // plan.workers)
    requested = arm.run.trainer.threads
    threads = min(share, requested) if isinstance(requested, int) else share
    fixed = ["trainer.progress=false", f"trainer.threads={threads}", f"seed={seed}"]
    return [*config.run, *own, *fixed]
