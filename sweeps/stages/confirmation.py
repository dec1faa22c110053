"""Confirmation stage: the best trials of the search, rerun with fresh seeds."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from routers import ConfigError
from tasks import FORMAT, RESULT, read_json, write_json

from ..config.arms import Arm
from ..config.objectives import number_at
from ..config.plan import Plan
from ..driver.queue import Queue, TrialSpec
from ..driver.stage import Stage
from ..results.sweep_dir import ARM_FILE, CONFIRMED
from ..statistics.pareto import pareto_front
from ..workers.job import Job
from .search import SearchStage, new_job, ranked, run_overrides


@dataclass(frozen=True)
class Candidate:
    """A trial of an arm to confirm: the arm's best, or another one of the Pareto front.

    The best trial of an arm has the arm's label and slug; ``overrides`` are its own;
    ``pareto`` states whether no trial of any arm dominates it. Without a search there is no trial,
    and the overrides are those of the arm.
    """

    label: str
    slug: str
    arm: Arm
    trial: FrozenTrial | None
    overrides: Sequence[str]
    pareto: bool


def select_candidates(plan: Plan, stages: Sequence[SearchStage]) -> list[Candidate]:
    """Every arm's best trial, then the rest of the Pareto front; without a search every arm.

    An arm without a complete trial within the constraints has no candidate.
    """
    if not stages:
        return [
            Candidate(arm.label, arm.slug, arm, None, arm.overrides, False) for arm in plan.arms
        ]
    valid = [
        (stage, stage.arm(trial), trial)
        for stage in stages
        for trial in ranked(stage.queue.trials(), plan.objectives)
    ]
    values = [trial.values for *_, trial in valid]
    front = pareto_front(values, [objective.sign for objective in plan.objectives])
    best, rest = [], []
    for arm in plan.arms:
        own = [i for i, (_, of, _) in enumerate(valid) if of.label == arm.label]
        seen: list[list[float]] = []
        for rank, i in enumerate(own):
            stage, _, trial = valid[i]
            overrides = stage.overrides(trial)
            if rank == 0:
                best.append(Candidate(arm.label, arm.slug, arm, trial, overrides, front[i]))
            elif front[i] and values[i] not in seen:  # equal values add nothing to the front
                name = f"{arm.label}, trial {trial.number}"
                slug = f"{arm.slug}-{trial.number:04d}"
                rest.append(Candidate(name, slug, arm, trial, overrides, True))
            seen.append(values[i])
    return best + rest


class ConfirmStage(Stage):
    """Fresh runs of all candidates, each with the first of the same seeds."""

    def __init__(self, plan: Plan, storage: BaseStorage, candidates: Sequence[Candidate]) -> None:
        self.plan, self.title = plan, plan.titled(CONFIRMED)
        self.candidates = {candidate.slug: candidate for candidate in candidates}
        self.queue = Queue(
            f"{plan.name}/{CONFIRMED}",
            storage,
            directions=["minimize"],
            sampler=RandomSampler(seed=0),
            retries=plan.config.retries,
        )
        for candidate in candidates:
            _write_arm_file(plan, candidate)
        for trial in self.queue.trials():
            self.candidate(trial)  # raises for runs that are not of this sweep
        first = plan.config.confirm.plan.first
        self.enqueue({candidate.label: first for candidate in candidates})

    def enqueue(self, numbers: Mapping[str, int]) -> int:
        """Enqueue the runs that are missing for numbers of seeds by label; returns how many."""
        attrs = [trial.user_attrs for trial in self.queue.trials()]
        queued = {(each["candidate"], each["seed"]) for each in attrs}
        specs = [
            TrialSpec({}, {"candidate": slug, "seed": seed})
            for number, seed in enumerate(seeds(self.plan))
            for slug, candidate in self.candidates.items()
            if number < numbers.get(candidate.label, 0) and (slug, seed) not in queued
        ]
        self.queue.enqueue(specs)
        return len(specs)

    def job(self, trial: Trial) -> Job:
        candidate, seed = self.candidate(trial), trial.user_attrs["seed"]
        (folder,) = self.run_dirs(trial)
        overrides = run_overrides(self.plan, candidate.arm, candidate.overrides, seed)
        log = folder.with_name(f"{folder.name}.txt")
        return new_job(self.plan, candidate.arm, self.queue, trial, log, [(folder, overrides)])

    def finish(self, trial: Trial) -> str:
        (folder,) = self.run_dirs(trial)
        value = number_at(read_json(folder / RESULT), "score.value")
        if value is None or not math.isfinite(value):
            self.queue.fail(trial, "score.value: not a number in the result")
            return "score.value is not a number"
        self.queue.tell(trial, TrialState.COMPLETE, [value])
        return f"test score {value:.4g}"

    def kept_checkpoints(self) -> set[int] | None:
        return set() if self.plan.config.checkpoints == "none" else None

    def name_of(self, number: int) -> str:
        attrs = self.queue.trials()[number].user_attrs
        return self.plan.titled(f"{attrs['candidate']} seed {attrs['seed']}")

    def failures(self) -> list[str]:
        """A message for each run that failed."""
        return [
            f"{self.name_of(trial.number)}: {trial.user_attrs.get('error', 'failed')}"
            for trial in self.queue.trials()
            if trial.state == TrialState.FAIL
        ]

    def candidate(self, trial: Trial | FrozenTrial) -> Candidate:
        """The candidate of a run.

        Raises:
            ConfigError: if it is not of this sweep; the storage may contain anything, and
                candidate and seed determine where runs are written.
        """
        slug, seed = trial.user_attrs.get("candidate"), trial.user_attrs.get("seed")
        if slug in list(self.candidates) and isinstance(seed, int) and seed in seeds(self.plan):
            return self.candidates[slug]
        raise ConfigError(
            f"storage: trial {trial.number} of the study {self.queue.name!r} is of candidate "
            f"{slug!r} and seed {seed!r}; this sweep has {', '.join(self.candidates)} and seeds "
            f"from {seeds(self.plan)[0]} to {seeds(self.plan)[-1]}. Choose another storage, or a "
            "sweep of another name"
        )

    def run_dirs(self, trial: Trial | FrozenTrial) -> list[Path]:
        folder = self.plan.folder / CONFIRMED / self.candidate(trial).slug
        return [folder / f"seed-{trial.user_attrs['seed']}"]


def seeds(plan: Plan) -> range:
    """All seeds that confirmation may use."""
    confirm = plan.config.confirm
    return range(confirm.first_seed, confirm.first_seed + confirm.plan.most)


def _write_arm_file(plan: Plan, candidate: Candidate) -> None:
    trial = candidate.trial
    overrides = list(candidate.overrides)
    command = ["python", "-m", "tasks", *plan.config.run, *overrides, f"seed={seeds(plan)[0]}"]
    values = zip(plan.objectives, trial.values, strict=True) if trial else ()
    about: dict[str, Any] = {
        "format": FORMAT,
        "arm": candidate.label,
        "slug": candidate.slug,
        "control": candidate.arm.control,
        "overrides": overrides,
        "command": shlex.join(command),
        "trial": trial and trial.number,
        # a server returns parameters in any order
        "params": dict(sorted(trial.params.items())) if trial else {},
        "search": {objective.metric: value for objective, value in values},
        "pareto": candidate.pareto,
    }
    path = plan.folder / CONFIRMED / candidate.slug / ARM_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, about)
