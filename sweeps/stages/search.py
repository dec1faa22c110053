"""The search: trials of an arm, or of all arms in a joint study."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from routers import ConfigError, OptionError
from tasks import RESULT, read_json

from ..config.arms import Arm
from ..config.objectives import searched
from ..config.plan import Plan, comparable, refuse_changes
from ..search.halving import PRUNERS, rungs
from ..search.samplers import Reseeded
from ..search.space import ARM, Space, as_overrides, defaults, grid, joined, suggest
from ..storage.file_lock import Lock
from ..workers.artifacts import OF_SEARCH, pack
from ..workers.exchange import download_missing, upload_missing
from ..workers.job import Job
from ..workers.queue import Queue, Stage, TrialSpec
from .study_id import check_same_study

#: Settings of every run of a sweep: nobody watches its bar.
QUIET = ("trainer.progress=false",)


class SearchStage(Stage):
    """The trials of one study.

    Args:
        plan: of the sweep.
        storage: where studies are kept.
        lock: whoever changes a study holds it.
        title: of the study, within the sweep.
        arms: by label; several in a joint study.
        space: what varies.
        places: one for each trial.
    """

    def __init__(
        self,
        plan: Plan,
        storage: BaseStorage,
        lock: Lock,
        title: str,
        arms: Mapping[str, Arm],
        space: Space,
        places: Sequence[TrialSpec],
    ) -> None:
        config = plan.config
        self.plan = plan
        self.title = title
        self.arms = arms
        self.space = space
        name = f"{plan.name}/{title}"
        self.queue = Queue(
            name,
            storage,
            directions=[objective.direction for objective in plan.objectives],
            sampler=Reseeded(config.sampler, config.seed, title),
            lock=lock,
            retries=config.retries,
            ended=lambda: self.exhausted,
        )
        with lock():
            _refuse_another(self.queue, plan)
            check_same_study(self.queue.study, plan.folder, self._begun)
        self.queue.name_values([objective.metric for objective in plan.objectives])
        self.queue.fill(places)

    def draw(self, trial: Trial) -> None:
        values = suggest(self.space, trial)
        arm = self.arm(trial)
        trial.set_user_attr("arm", arm.label)
        trial.set_user_attr("overrides", [*arm.overrides, *as_overrides(self.space, values)])

    def job(self, trial: Trial) -> Job:
        config, arm = self.plan.config, self.arm(trial)
        overrides = [*config.run, *trial.user_attrs["overrides"], *QUIET, threads(config, arm)]
        folder = self.folder(trial)
        halving = config.pruner.name != "none"
        epochs = arm.run.trainer.max_epochs
        return Job(
            log=folder / "output.txt",
            runs=[(path, [*overrides, f"seed={seed}"]) for seed, path in self.runs(folder)],
            metrics=[objective.metric for objective in self.plan.objectives],
            rungs=rungs(config.pruner.first, config.pruner.factor, epochs) if halving else (),
        )

    def finish(self, trial: Trial) -> str:
        runs = self._paths(trial)
        if self.plan.sends:
            self.queue.keep(trial, pack(runs, OF_SEARCH))
        results = [read_json(path / RESULT) for path in runs]
        objectives = self.plan.objectives
        values = {each.metric: searched(results, each.metric) for each in objectives}
        bounds = {each: searched(results, each.metric) for each in self.plan.constraints}
        missing = [name for name, value in values.items() if not _finite(value)]
        missing += [each.metric for each, value in bounds.items() if not _finite(value)]
        if missing:
            reason = f"{', '.join(missing)}: not a number in the results"
            self.queue.fail(trial, reason)
            return reason
        with suppress(UpdateFinishedTrialError):  # it was taken for dead, and ended elsewhere
            for each, value in bounds.items():
                if each.text not in trial.constraints:
                    trial.set_constraint(each.text, each.violation(float(value or 0)))
        self.queue.tell(trial, TrialState.COMPLETE, [float(v or 0) for v in values.values()])
        return "  ".join(f"{name} {value:.4g}" for name, value in values.items())

    def goes_on(self, trial: Trial, epoch: int, values: Mapping[str, float]) -> bool:
        known = [each for each in self.plan.objectives if each.metric in values]
        own = [each.sign * values[each.metric] for each in known]
        key = f"rung {epoch}"
        self.queue.keep(trial, {key: own})
        others = [
            other.user_attrs[key]
            for other in self.queue.trials()
            if key in other.user_attrs and other.number != trial.number
        ]
        if not all(map(math.isfinite, own)):
            return True  # it will fail in its own words
        pruner = self.plan.config.pruner
        return PRUNERS[pruner.name](own, others, pruner.factor)

    @property
    def open(self) -> bool:
        return self.queue.open and not (self.exhausted and self.queue.idle)

    @property
    def takes_more(self) -> bool:
        return not self.exhausted

    def best(self) -> float | None:
        sign = self.plan.objectives[0].sign
        values = [t.values[0] for t in self.queue.trials() if t.state == TrialState.COMPLETE]
        return min(values, key=lambda value: sign * value, default=None)

    @property
    def exhausted(self) -> bool:
        """Whether so many trials in a row were no better that no more are started."""
        patience = self.plan.config.patience
        return patience is not None and self.since_better() >= patience

    def since_better(self) -> int:
        """Finished trials since the last one that was better in the first objective."""
        sign = self.plan.objectives[0].sign
        best, since = math.inf, 0
        for trial in sorted(self.queue.trials(), key=_finished_at):
            if trial.state.is_finished():
                value = sign * trial.values[0] if trial.state == TrialState.COMPLETE else math.inf
                best, since = (value, 0) if value < best else (best, since + 1)
        return since

    def arm(self, trial: Trial | FrozenTrial) -> Arm:
        """What a trial tries out."""
        label = trial.params.get(ARM, next(iter(self.arms)))
        return self.arms[label]

    def folder(self, trial: Trial | FrozenTrial) -> Path:
        """Where a trial's runs lie."""
        return self.plan.folder / "trials" / self.arm(trial).slug / f"{trial.number:04d}"

    def runs(self, folder: Path) -> list[tuple[int, Path]]:
        """Seeds and folders of a trial's runs."""
        return [(seed, folder / f"seed-{seed}") for seed in range(self.plan.config.seeds)]

    def upload_missing(self) -> None:
        """Send what ended before other machines shared the storage."""
        upload_missing(self.queue, self._paths, OF_SEARCH)

    def gather(self) -> list[str]:
        return download_missing(self.queue, self._paths, self.name_of)

    @property
    def _begun(self) -> bool:
        """Whether runs lie here."""
        slugs = [arm.slug for arm in self.arms.values()]
        return any(any((self.plan.folder / "trials" / slug).glob("*/seed-*")) for slug in slugs)

    def _paths(self, trial: Trial | FrozenTrial) -> list[Path]:
        return [path for _, path in self.runs(self.folder(trial))]


def search_lines(plan: Plan, storage: BaseStorage, lock: Lock) -> list[SearchStage]:
    """A line for each arm, or one for all of them."""
    return STUDIES[plan.config.study](plan, storage, lock)


def _per_arm(plan: Plan, storage: BaseStorage, lock: Lock) -> list[SearchStage]:
    lines = []
    for arm in plan.arms:
        space = plan.spaces[arm.label]
        places = _places(plan, space, plan.trials_of(arm))
        lines.append(SearchStage(plan, storage, lock, arm.label, {arm.label: arm}, space, places))
    return lines


def _joint(plan: Plan, storage: BaseStorage, lock: Lock) -> list[SearchStage]:
    space = joined(plan.spaces)
    trials = sum(plan.trials_of(arm) for arm in plan.arms)
    firsts = [_place(defaults(space, {ARM: arm.label})) for arm in plan.arms]
    places = [*firsts, *_places(plan, space, trials)[1:]][:trials]
    places += [_place({})] * (trials - len(places))
    arms = {arm.label: arm for arm in plan.arms}
    return [SearchStage(plan, storage, lock, "joint", arms, space, places)]


STUDIES = {"per_arm": _per_arm, "joint": _joint}


def _places(plan: Plan, space: Space, trials: int) -> list[TrialSpec]:
    """The defaults, then what the sampler draws, or the points of a grid."""
    lay_out = LAYOUTS.get(plan.config.sampler, _drawn)
    return [_place(params) for params in lay_out(space, trials)]


def _drawn(space: Space, trials: int) -> list[dict[str, Any]]:
    return [defaults(space), *({} for _ in range(trials - 1))]


def _all_points(space: Space, trials: int) -> list[dict[str, Any]]:
    points = grid(space)
    if len(points) > trials:
        raise OptionError(
            "trials", trials, f"at least {len(points)}, the points of the largest grid"
        )
    return points


#: What is in line from the start, where that is not the sampler's to draw.
LAYOUTS = {"grid": _all_points}


def _place(params: Mapping[str, Any]) -> TrialSpec:
    return TrialSpec(params, {})


def _refuse_another(queue: Queue, plan: Plan) -> None:
    """A study of this name may be another sweep's, in a storage that sweeps share."""
    own = comparable(plan)
    kept = queue.study.user_attrs.get("plan")
    if kept is None and not queue.trials():
        queue.study.set_user_attr("plan", own)
        return
    if kept is None:
        raise ConfigError(f"storage: the study {queue.name!r} is not of a sweep; choose another")
    refuse_changes(f"storage: the study {queue.name!r}", json.loads(kept), json.loads(own))


def threads(config: Any, arm: Arm) -> str:
    """The share of a worker in the machine's threads, at most what the arm asks for."""
    whole = config.threads or len(os.sched_getaffinity(0))
    share = max(1, whole // config.workers)
    return f"trainer.threads={min(share, arm.run.trainer.threads or share)}"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _finished_at(trial: FrozenTrial) -> float:
    end = trial.datetime_complete
    return end.timestamp() if end is not None else math.inf
