"""Plan of a sweep: everything is resolved and checked before training starts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from routers import ConfigError, OptionError
from tasks import FORMAT, user_path

from ..engines import ENGINES, Engine
from ..search.space import (
    LAYERS,
    Space,
    as_overrides,
    check_keys,
    defaults,
    describe,
    read_space,
)
from ..storage.connect import without_password
from ..storage.driver_lock import check_free
from .arms import Arm, read_arms
from .compose import SweepConfig
from .objectives import Constraint, Objective, check_metric, parse_constraint, read_objectives
from .run_checker import RunChecker

#: Keys that may change when a sweep resumes: they affect no result.
MUTABLE_KEYS = ("engine", "workers", "threads", "quiet", "retries", "checkpoints", "out", "storage")


@dataclass(frozen=True)
class Plan:
    """A resolved and checked sweep.

    Attributes:
        config: the configuration as written, with a number of workers.
        engine: where trials run.
        arms: the configurations to compare, controls last.
        spaces: the search space of each arm, by label.
        objectives: the first one selects an arm's best trial.
        constraints: conditions that the selected trials satisfy.
        data: name and hashes of the task's data, the same on all machines.
        rows: number of its training samples.
        notes: messages to print before the sweep starts.
        benchmark: its name in a suite; empty if it is none.
        mutable: keys that may change when it resumes.
        identity: of the folder, which no other sweep has; empty until it is opened.
    """

    config: SweepConfig
    engine: Engine
    name: str
    folder: Path
    arms: Sequence[Arm]
    spaces: Mapping[str, Space]
    objectives: Sequence[Objective]
    constraints: Sequence[Constraint]
    data: Mapping[str, str | None]
    rows: int
    notes: Sequence[str]
    benchmark: str = ""
    mutable: Sequence[str] = MUTABLE_KEYS
    identity: str = ""

    @property
    def workers(self) -> int:
        """Trials at a time."""
        return self.config.workers or 1  # make_plan sets it

    def trials_of(self, arm: Arm) -> int:
        """Number of trials of an arm: at most 1 if its space is empty, as all would be the same."""
        return self.config.trials if self.spaces[arm.label] else min(1, self.config.trials)

    def titled(self, text: str) -> str:
        """A text with the name of the benchmark before it, if there is one."""
        return f"{self.benchmark}: {text}" if self.benchmark else text

    def to_dict(self) -> dict[str, Any]:
        """The plan in plain values, as ``sweep.yaml`` holds it."""
        return {"format": FORMAT, **asdict(self.config)} | {
            "sweep": self.name,
            "out": str(self.folder),
            "storage": self.config.storage and without_password(self.config.storage),
            "arms": {arm.label: list(arm.overrides) for arm in self.arms if not arm.control},
            "objectives": [asdict(objective) for objective in self.objectives],
            "data": dict(self.data),
            "resolved": {
                arm.label: {
                    "slug": arm.slug,
                    "control": arm.control,
                    "overrides": list(arm.overrides),
                    "trials": self.trials_of(arm),
                    "space": describe(self.spaces[arm.label]),
                }
                for arm in self.arms
            },
        }


def make_plan(config: SweepConfig) -> Plan:
    """Resolve and check a sweep.

    Raises:
        ConfigError: for any invalid setting.
    """
    name = config.sweep or "sweep"
    folder = user_path(config.out or f"runs/{name}")
    check_free(folder)  # before the rest of the plan, which takes seconds
    engine = make_engine(config)
    checker = RunChecker(config.run)
    arms, notes = read_arms(config, checker)
    plan = resolve(config, checker, arms, engine, name, folder)
    if config.trials > 1 and not any(plan.spaces.values()):
        raise OptionError(
            "trials",
            config.trials,
            "at most 1, as the space of every arm is empty: there is nothing to vary",
            "Name ranges in space, as in space={optimizer.lr: {low: 1e-4, high: 1e-2, log: true}}",
        )
    return replace(plan, notes=[*notes, *plan.notes])


def make_engine(config: SweepConfig) -> Engine:
    """The engine that a configuration names."""
    options = dict(config.engine)
    return ENGINES.build(options.pop("name"), **options)


def resolve(
    config: SweepConfig,
    checker: RunChecker,
    arms: Sequence[Arm],
    engine: Engine,
    name: str,
    folder: Path,
) -> Plan:
    """Resolve the spaces, objectives and data of arms that can run.

    Raises:
        ConfigError: for any invalid setting.
    """
    check_keys(config.space, [arm.run for arm in arms])
    spaces: dict[str, Space] = {}
    for arm in arms:
        try:
            space = read_space(config.space, arm.run)
            if any(
                each.key.startswith(f"{LAYERS}.") for each in space
            ):  # layers that the network may not have
                checker.compose([*arm.overrides, *as_overrides(space, defaults(space))])
            spaces[arm.label] = space
        except ConfigError as error:
            raise ConfigError(f"arm {arm.label}: {error}") from error
    task = checker.task(arms[0].run)
    data = task.data()
    same = [label for label, space in spaces.items() if not space] if config.trials > 1 else []
    objectives = read_objectives(config.objectives, task)
    constraints = [parse_constraint(text) for text in config.constraints]
    for constraint in constraints:
        check_metric("constraints", constraint.metric, task)
    workers = engine.workers(max(arm.run.trainer.devices for arm in arms))
    return Plan(
        config=replace(config, run=checker.shared, workers=config.workers or workers),
        engine=engine,
        name=name,
        folder=folder,
        arms=arms,
        spaces=spaces,
        objectives=objectives,
        constraints=constraints,
        data={"name": data.name, "sha256": data.sha256, "split_sha256": data.split_sha256},
        rows=len(next(iter(data.train.values()))),
        notes=[f"{label} has nothing to vary: one trial" for label in same],
    )
