"""Confirmation: the best of the search once more, with seeds it has not seen."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from routers import ConfigError
from tasks import RESULT, read_json, write_json

from ..config.arms import Arm
from ..config.objectives import number_at
from ..config.plan import LOCK, Plan
from ..search.halving import dominates
from ..storage.file_lock import Lock, alone
from ..workers.artifacts import RECORDS, pack
from ..workers.exchange import download_missing, upload_missing
from ..workers.job import Job
from ..workers.queue import Queue, Stage, TrialSpec
from .search import QUIET, SearchStage, threads

#: The study of confirmed runs, within the sweep.
CONFIRMED = "confirmed"


@dataclass(frozen=True)
class Candidate:
    """What is confirmed: a trial of an arm.

    Attributes:
        label: what it is called; an arm's best has the arm's label.
        slug: of its folder.
        arm: of the trial.
        trial: its best, or another one of the Pareto front.
        pareto: whether no trial of any arm is better in everything.
    """

    label: str
    slug: str
    arm: Arm
    trial: FrozenTrial
    pareto: bool


def candidates(plan: Plan, lines: Sequence[SearchStage]) -> list[Candidate]:
    """Every arm's best trial, and after them the rest of the Pareto front.

    Arms none of whose trials completed within the constraints have none.
    """
    fit = [
        (line.arm(trial), trial) for line in lines for trial in line.queue.trials() if _fit(trial)
    ]
    signs = [objective.sign for objective in plan.objectives]
    values = [[s * v for s, v in zip(signs, trial.values, strict=True)] for _, trial in fit]
    front = [not any(dominates(other, own) for other in values) for own in values]
    found: list[Candidate] = []
    rest: list[Candidate] = []
    for arm in plan.arms:
        own = [i for i, (of, _) in enumerate(fit) if of.label == arm.label]
        own.sort(key=lambda i: (values[i], fit[i][1].number))
        told: list[list[float]] = []
        for rank, i in enumerate(own):
            trial = fit[i][1]
            if rank == 0:
                found.append(Candidate(arm.label, arm.slug, arm, trial, front[i]))
            elif front[i] and values[i] not in told:  # an equal one adds nothing to the front
                name = f"{arm.label}, trial {trial.number}"
                rest.append(Candidate(name, f"{arm.slug}-{trial.number:04d}", arm, trial, True))
            told.append(values[i])
    return found + rest


def _fit(trial: FrozenTrial) -> bool:
    within = all(value <= 0 for value in trial.constraints.values())
    return trial.state == TrialState.COMPLETE and within


class ConfirmStage(Stage):
    """Fresh runs of all candidates, the same seeds for each.

    Args:
        plan: of the sweep.
        storage: where studies are kept.
        lock: whoever changes a study holds it.
        found: the candidates.
    """

    title = CONFIRMED

    def __init__(
        self, plan: Plan, storage: BaseStorage, lock: Lock, found: Sequence[Candidate]
    ) -> None:
        self.plan = plan
        self.found = {candidate.slug: candidate for candidate in found}
        self.queue = Queue(
            f"{plan.name}/{CONFIRMED}",
            storage,
            directions=["minimize"],
            sampler=RandomSampler(seed=0),
            lock=lock,
            retries=plan.config.retries,
        )
        with alone(plan.folder / LOCK):
            for candidate in found:
                _write_about(plan, candidate)
        self.queue.fill(
            TrialSpec({}, {"candidate": slug, "seed": seed})
            for seed in seeds(plan)
            for slug in self.found
        )
        for trial in self.queue.trials():
            self.of(trial)  # refuses what is no run of this sweep

    def draw(self, trial: Trial) -> None:
        """Nothing is drawn: the search is over."""

    def job(self, trial: Trial) -> Job:
        candidate, config = self.of(trial), self.plan.config
        seed, folder = trial.user_attrs["seed"], self.folder(trial)
        overrides = [*config.run, *_overrides(candidate), *QUIET, threads(config, candidate.arm)]
        return Job(
            log=folder.with_name(f"{folder.name}.txt"),
            runs=[(folder, [*overrides, f"seed={seed}"])],
        )

    def finish(self, trial: Trial) -> str:
        if self.plan.sends:
            self.queue.keep(trial, pack([self.folder(trial)], RECORDS))
        value = number_at(read_json(self.folder(trial) / RESULT), "score.value")
        if value is None or not math.isfinite(value):
            self.queue.fail(trial, "score.value: not a number in the result")
            return "score.value is not a number"
        self.queue.tell(trial, TrialState.COMPLETE, [value])
        return f"test score {value:.4g}"

    def upload_missing(self) -> None:
        """Send what ended before other machines shared the storage."""
        upload_missing(self.queue, self._paths, RECORDS)

    def gather(self) -> list[str]:
        return download_missing(self.queue, self._paths, self.name_of)

    def name_of(self, number: int) -> str:
        attrs = self.queue.trials()[number].user_attrs
        return f"{attrs['candidate']} seed {attrs['seed']}"

    def failures(self) -> list[str]:
        """Runs that are missing from the answer, and why."""
        return [
            f"{self.name_of(trial.number)}: {trial.user_attrs.get('error', 'failed')}"
            for trial in self.queue.trials()
            if trial.state == TrialState.FAIL
        ]

    def of(self, trial: Trial | FrozenTrial) -> Candidate:
        """Whose run it is.

        Raises:
            ConfigError: where it is none of this sweep; the storage may hold anything, and runs
                are written where candidate and seed say.
        """
        slug, seed = trial.user_attrs.get("candidate"), trial.user_attrs.get("seed")
        if slug in list(self.found) and isinstance(seed, int) and seed in seeds(self.plan):
            return self.found[slug]
        raise ConfigError(
            f"storage: trial {trial.number} of the study {self.queue.name!r} is of candidate "
            f"{slug!r} and seed {seed!r}; this sweep has {', '.join(self.found)} and seeds from "
            f"{seeds(self.plan)[0]} to {seeds(self.plan)[-1]}. Choose another storage, or a sweep "
            "of another name"
        )

    def folder(self, trial: Trial | FrozenTrial) -> Path:
        """Of a run."""
        return _home(self.plan, self.of(trial)) / f"seed-{trial.user_attrs['seed']}"

    def _paths(self, trial: Trial | FrozenTrial) -> list[Path]:
        return [self.folder(trial)]


def seeds(plan: Plan) -> range:
    """The seeds of confirmation."""
    confirm = plan.config.confirm
    return range(confirm.first_seed, confirm.first_seed + confirm.seeds)


def _home(plan: Plan, candidate: Candidate) -> Path:
    return plan.folder / "confirmed" / candidate.slug


def _overrides(candidate: Candidate) -> list[str]:
    return list(candidate.trial.user_attrs["overrides"])


def _write_about(plan: Plan, candidate: Candidate) -> None:
    overrides, trial = _overrides(candidate), candidate.trial
    command = ["python", "-m", "tasks", *plan.config.run, *overrides, f"seed={seeds(plan)[0]}"]
    values = zip(plan.objectives, trial.values, strict=True)
    about: dict[str, Any] = {
        "arm": candidate.label,
        "slug": candidate.slug,
        "control": candidate.arm.control,
        "overrides": overrides,
        "command": shlex.join(command),
        "trial": trial.number,
        "params": dict(sorted(trial.params.items())),  # a proxy gives them in any order
        "search": {objective.metric: value for objective, value in values},
        "pareto": candidate.pareto,
    }
    path = _home(plan, candidate) / "arm.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, about)
