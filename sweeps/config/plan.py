"""Plan of a sweep: everything is resolved and checked before training starts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from omegaconf import OmegaConf

from routers import ConfigError, OptionError
from tasks import FORMAT, check_format, user_path, write_text

from ..engines import ENGINES, Engine
from ..search.space import Space, check_keys, describe, read_space
from ..storage.connect import without_password
from ..storage.driver_lock import HOLDER, LOCK, check_free, driving
from .arms import Arm, RunChecker, read_arms
from .compose import SWEEP_FILE, SweepConfig
from .objectives import Constraint, Objective, check_metric, parse_constraint, read_objectives

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
    identity: str = ""

    @property
    def workers(self) -> int:
        """Trials at a time."""
        return self.config.workers or 1  # make_plan sets it

    def trials_of(self, arm: Arm) -> int:
        """Number of trials of an arm: 1 if its space is empty, as all would be the same."""
        return self.config.trials if self.spaces[arm.label] else 1

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
    engine_options = dict(config.engine)
    engine = ENGINES.build(engine_options.pop("name"), **engine_options)
    checker = RunChecker(config.run)
    config = replace(config, run=checker.shared)
    arms, notes = read_arms(config, checker)
    check_keys(config.space, [arm.run for arm in arms])
    spaces: dict[str, Space] = {}
    for arm in arms:
        try:
            spaces[arm.label] = read_space(config.space, arm.run)
        except ConfigError as error:
            raise ConfigError(f"arm {arm.label}: {error}") from error
    if config.trials > 1 and not any(spaces.values()):
        raise OptionError(
            "trials",
            config.trials,
            "1, as the space of every arm is empty: there is nothing to vary",
            "Name ranges in space, as in space={optimizer.lr: {low: 1e-4, high: 1e-2, log: true}}",
        )
    task = checker.task(arms[0].run)
    data = task.data()
    if config.trials > 1:
        same = [label for label, space in spaces.items() if not space]
        notes += [f"{label} has nothing to vary: one trial" for label in same]
    objectives = read_objectives(config.objectives, task)
    constraints = [parse_constraint(text) for text in config.constraints]
    for constraint in constraints:
        check_metric("constraints", constraint.metric, task)
    workers = engine.workers(max(arm.run.trainer.devices for arm in arms))
    return Plan(
        config=replace(config, workers=config.workers or workers),
        engine=engine,
        name=name,
        folder=folder,
        arms=arms,
        spaces=spaces,
        objectives=objectives,
        constraints=constraints,
        data={"name": data.name, "sha256": data.sha256, "split_sha256": data.split_sha256},
        rows=len(next(iter(data.train.values()))),
        notes=notes,
    )


@contextmanager
def opened_folder(plan: Plan) -> Iterator[Plan]:
    """Drive the sweep in its folder: create it, or check that it holds this sweep.

    The context gives the plan with the folder's identity.

    Raises:
        ConfigError: if the folder cannot be written, holds another sweep or other files, or if
            another process drives it.
    """
    folder, path = plan.folder, plan.folder / SWEEP_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = {f"{SWEEP_FILE}.part", f"{HOLDER}.part", HOLDER, LOCK}
        others = {path.name for path in folder.iterdir()} - ours
    except OSError as error:
        raise _unwritable(folder, error) from error
    if others and not path.exists():  # it is written first
        raise ConfigError(
            f"out={folder}: the folder is not empty (it holds {min(others)}) and holds no "
            "sweep; choose another out"
        )
    with driving(folder):
        yield replace(plan, identity=_identity(plan, path))


def _identity(plan: Plan, path: Path) -> str:
    """The identity in a sweep's file, which is checked, or written first."""
    if path.exists():
        before = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        check_format(path, before)
        check_unchanged(f"out={plan.folder}", before, plan)
        return str(before.get("identity", "")) if isinstance(before, dict) else ""
    identity = uuid4().hex[:12]
    try:
        write_text(
            path, OmegaConf.to_yaml(OmegaConf.create({**plan.to_dict(), "identity": identity}))
        )
    except OSError as error:
        raise _unwritable(plan.folder, error) from error
    return identity


def _unwritable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"out={folder}: cannot be written ({error.strerror})")


def check_unchanged(where: str, before: Any, plan: Plan) -> None:
    """Raise ``ConfigError`` that shows the difference if a sweep is not the one that started."""
    one, other = (dict(_flat("", comparable_settings(each))) for each in (before, plan.to_dict()))
    keys = [key for key in {**one, **other} if one.get(key, "-") != other.get(key, "-")]
    if written := [key for key in keys if not key.startswith("resolved")]:
        keys = written  # the rest follows from them
    if keys:
        lines = [f"  {key}: was {one.get(key, '-')}, is {other.get(key, '-')}" for key in keys]
        raise ConfigError(
            f"{where}: holds another sweep; only {', '.join(MUTABLE_KEYS[:-2])} may change. "
            "Undo the change, or choose another out (if several sweeps share the storage, also "
            "another name, which is that of the file, sweep=NAME.yaml):\n" + "\n".join(lines)
        )


def comparable_settings(values: Mapping[str, Any]) -> Any:
    """The settings that two runs of the same sweep have in common, as JSON represents them."""
    ignored = (*MUTABLE_KEYS, "format", "identity")
    return json.loads(json.dumps({k: v for k, v in values.items() if k not in ignored}))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix} > {key}" if prefix else str(key), inner)
    else:
        yield prefix, json.dumps(value, sort_keys=True)
