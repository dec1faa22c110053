"""What a sweep will do, all of it known before anything trains."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from routers import ConfigError, OptionError
from tasks import Data, user_path, write_text

from ..search.space import Space, check_keys, describe, read_space
from ..storage.connect import without_password
from ..storage.file_lock import alone
from .arms import Arm, Bench, read_arms
from .objectives import Constraint, Objective, read_constraint, read_objectives
from .schema import SweepConfig

SWEEP = "sweep.yaml"

#: In the sweep's folder; whoever writes files that are not a run's holds it.
LOCK = "lock"

#: What may differ when a sweep goes on: it changes no number.
MAY_CHANGE = ("workers", "threads", "quiet", "retries", "out", "storage")


@dataclass(frozen=True)
class Plan:
    """A sweep, checked.

    Attributes:
        config: as it was written.
        name: of the sweep.
        folder: where everything goes.
        arms: what is compared, controls last.
        spaces: what varies, by label of the arm.
        objectives: the first picks an arm's best trial.
        constraints: which trials may be picked.
        data: name and hashes of what is learnt, the same on all machines.
        notes: what a reader should know before it starts.
    """

    config: SweepConfig
    name: str
    folder: Path
    arms: Sequence[Arm]
    spaces: Mapping[str, Space]
    objectives: Sequence[Objective]
    constraints: Sequence[Constraint]
    data: Mapping[str, str | None]
    notes: Sequence[str]

    @property
    def sends(self) -> bool:
        """Whether results go through the storage, for machines that have another folder."""
        return self.config.storage is not None

    def trials_of(self, arm: Arm) -> int:
        """How many trials an arm has; with nothing to vary they would all be the same."""
        return self.config.trials if self.spaces[arm.label] else 1

    def described(self) -> dict[str, Any]:
        """The plan in plain values: what ``sweep.yaml`` holds."""
        values = asdict(self.config)
        values |= {
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
        return values


def make_plan(config: SweepConfig) -> Plan:
    """Check a sweep and work out what it will do.

    Raises:
        ConfigError: for anything that cannot work.
    """
    name = config.sweep or "sweep"
    bench = Bench()
    arms, notes = read_arms(config, bench)
    check_keys(config.space, [arm.run for arm in arms])
    spaces = {arm.label: _space(config, arm) for arm in arms}
    if config.trials > 1 and not any(spaces.values()):
        raise OptionError(
            "trials",
            config.trials,
            "1: there is nothing to vary, as the space of every arm is empty",
            "Name ranges in space, as in space={optimizer.lr: {low: 1e-4, high: 1e-2, log: true}}",
        )
    task = bench.task(arms[0].run)
    if config.trials > 1:
        same = [label for label, space in spaces.items() if not space]
        notes += [f"{label} has nothing to vary: one trial" for label in same]
    return Plan(
        config=config,
        name=name,
        folder=user_path(config.out or f"runs/{name}"),
        arms=arms,
        spaces=spaces,
        objectives=read_objectives(config.objectives, task),
        constraints=[read_constraint(text, task) for text in config.constraints],
        data=_hashes(task.data()),
        notes=notes,
    )


def _hashes(data: Data) -> dict[str, str | None]:
    return {"name": data.name, "sha256": data.sha256, "split_sha256": data.split_sha256}


def open_folder(plan: Plan) -> None:
    """Make the sweep's folder, or see that it holds this very sweep.

    Raises:
        ConfigError: where it cannot be written, or holds another sweep or anything else.
    """
    folder = plan.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = {path.name for path in folder.iterdir()} - {f"{SWEEP}.part", LOCK}
        if others and not (folder / SWEEP).exists():  # it is written first
            raise ConfigError(
                f"out={folder}: is not empty (it holds {min(others)}), and holds no sweep; "
                "choose another out"
            )
        with alone(folder / LOCK):
            _write_or_compare(plan, folder / SWEEP)
    except OSError as error:
        raise ConfigError(f"out={folder}: cannot be written ({error.strerror})") from error


def _write_or_compare(plan: Plan, path: Path) -> None:
    if not path.exists():
        write_text(path, OmegaConf.to_yaml(OmegaConf.create(plan.described())))
        return
    before = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    refuse_changes(f"out={plan.folder}", _plain(before), _plain(plan.described()))


def refuse_changes(where: str, before: Any, now: Any) -> None:
    """Raise ``ConfigError`` where a sweep is not the one that began, and show the difference."""
    one, other = dict(_flat("", _kept(before))), dict(_flat("", _kept(now)))
    keys = [key for key in {**one, **other} if one.get(key, "-") != other.get(key, "-")]
    if written := [key for key in keys if not key.startswith("resolved")]:
        keys = written  # the rest follows from them
    if keys:
        lines = [f"  {key}: {one.get(key, '-')} there, {other.get(key, '-')} now" for key in keys]
        raise ConfigError(
            f"{where}: holds another sweep; only {', '.join(MAY_CHANGE[:-2])} may change. "
            "Undo this, or choose another out (and in a storage that sweeps share another name, "
            "which is that of the sweep's own file, sweep=NAME.yaml):\n" + "\n".join(lines)
        )


def comparable(plan: Plan) -> str:
    """What makes two sweeps the same, as text."""
    return json.dumps(_kept(_plain(plan.described())), sort_keys=True)


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in MAY_CHANGE}


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(f"{prefix} > {key}" if prefix else str(key), inner)
        ]
    return [(prefix, json.dumps(value))]


def _plain(value: Any) -> Any:
    """Through JSON, so that what was written and what was read compare."""
    return json.loads(json.dumps(value))


def _space(config: SweepConfig, arm: Arm) -> Space:
    try:
        return read_space(config.space, arm.run)
    except ConfigError as error:
        raise ConfigError(f"arm {arm.label}: {error}") from error
