"""A sweep's configuration: its schema, and its composition from files and the command line."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from routers import ConfigError, OptionError
from routers.plugins import nearest_name, unknown
from tasks import CONF, overrides, user_path

from ..engines import ENGINES
from .confirm import ConfirmConfig

#: The resolved configuration in a sweep's folder.
SWEEP_FILE = "sweep.yaml"

#: Keys whose value is text, not YAML.
TEXT_KEYS = ("out", "storage", "sweep")

#: The key whose value names a part; the part's options are keys under it.
ENGINE = "engine"

#: Replaces ``${`` while the sweep's own values are resolved.
ESCAPED_REFERENCE = "\uffff{"

#: Smallest values of counts.
MINIMA = {
    **dict.fromkeys(("retries", "seed", "margin", "trials"), 0),
    **dict.fromkeys(("seeds", "patience", "workers", "threads"), 1),
    "pruner.first": 1,
    "pruner.factor": 2,
}


#: Which runs keep their checkpoint when they are finished.
CHECKPOINTS = ("none", "best", "all")


@dataclass
class PrunerConfig:
    """Trials that stop before their last epoch."""

    name: str
    first: int
    factor: int


@dataclass
class SweepConfig:
    """A sweep as written; `make_plan` resolves it."""

    run: list[str]
    arms: Any  # list of router names, or label to overrides, or null
    controls: list[str]
    objectives: list[Any]  # of metrics, or of {metric, direction}
    constraints: list[str]
    sampler: str
    trials: int
    seeds: int
    space: dict[str, Any]
    study: str
    pruner: PrunerConfig
    patience: int | None
    confirm: ConfirmConfig
    margin: float
    checkpoints: str
    engine: dict[str, Any]  # name, and options of the part
    workers: int | None
    threads: int | None
    retries: int
    storage: str | None
    seed: int
    quiet: bool
    sweep: str | None
    out: str | None


def compose(arguments: Sequence[str]) -> SweepConfig:
    """Compose the configuration of a sweep from ``key=value``, ``+new=value`` and ``~key``.

    Raises:
        ConfigError: for an unknown key or an invalid value.

    >>> compose(["sweep=tiny", "trials=3"]).trials
    3
    """
    changes = [overrides.parse(text, TEXT_KEYS, ENGINE.__eq__) for text in arguments]
    config = overrides.load_yaml(CONF / "sweep.yaml")
    name = {key: value for _, key, value in changes}.get("sweep")
    if name is not None:
        path = file_of("sweep", name)
        merged = OmegaConf.merge(config, overrides.load_yaml(path), {"sweep": path.stem})
        assert isinstance(merged, DictConfig)
        config = merged
    return typed(changed(config, changes, ("sweep",), SweepConfig.__dataclass_fields__))


def changed(
    config: DictConfig,
    changes: Sequence[overrides.Change],
    done: Sequence[str],
    known: Iterable[str],
) -> DictConfig:
    """The configuration with what the command line changes, except the keys that are ``done``.

    References such as ``${seed}`` are escaped: each run resolves them, not the sweep.

    Raises:
        ConfigError: for a key that is not ``known``.
    """
    config.engine = _named(config.engine)
    for sign, key, value in changes:
        if key in done:
            continue
        if key.partition(".")[0] not in known:
            raise unknown_key(key, known)
        with overrides.explained(f"{sign}{key}={value}"):
            overrides.change(config, sign, key, _named(value) if key == ENGINE else value)
    return OmegaConf.create(_replace(OmegaConf.to_container(config), "${", ESCAPED_REFERENCE))


def typed(config: DictConfig) -> SweepConfig:
    """A checked configuration, of one from `changed`.

    Raises:
        ConfigError: for an unknown key or an invalid value.
    """
    fields = SweepConfig.__dataclass_fields__
    composed = overrides.typed(
        config, SweepConfig, "conf/sweep.yaml", lambda key: unknown_key(key, fields)
    )
    for name in ("run", "arms", "space", "objectives", "constraints"):
        setattr(composed, name, _replace(getattr(composed, name), ESCAPED_REFERENCE, "${"))
    composed.confirm.seeds = composed.confirm.plan.written
    _check(composed)
    return composed


def _named(value: Any) -> Any:
    """``engine: NAME`` as ``engine: {name: NAME}``."""
    return {"name": value} if isinstance(value, str) else value


def _replace(value: Any, old: str, new: str) -> Any:
    """The value with ``old`` replaced in every text inside it."""
    return json.loads(json.dumps(value, ensure_ascii=False).replace(old, new))


def names_of(kind: str) -> list[str]:
    """Names of a kind of files under ``conf``, such as ``sweep``."""
    return sorted(path.stem for path in (CONF / kind).glob("*.yaml"))


def file_of(kind: str, name: str) -> Path:
    """The file of a name under ``conf``, or of a path; ``ConfigError`` if there is none."""
    path = user_path(name)
    if path.suffix == ".yaml" and path.is_file():
        return path
    if name not in (known := names_of(kind)):
        raise unknown(kind, name, [*known, "a path ending in .yaml"])
    return CONF / kind / f"{name}.yaml"


def unknown_key(key: str, known: Iterable[str]) -> ConfigError:
    """The error for a key that is not known."""
    return ConfigError(f"{key}: {nearest_name(key.partition('.')[0], list(known))}")


def choices() -> dict[str, Iterable[str]]:
    """The names that settings accept, by key."""
    from ..search.halving import PRUNERS
    from ..search.samplers import SAMPLERS

    return {
        "sampler": SAMPLERS,
        "pruner.name": PRUNERS,
        "study": ("per_arm", "joint"),
        "checkpoints": CHECKPOINTS,
    }


def _check(config: SweepConfig) -> None:
    options = dict(config.engine)
    if not isinstance(name := options.pop("name", None), str):
        raise OptionError(ENGINE, config.engine, f"a name, one of {', '.join(ENGINES)}")
    ENGINES.check_options(name, options)
    for key, known in choices().items():
        if (name := attrgetter(key)(config)) not in known:
            raise unknown(key, name, known)
    for key, minimum in {**MINIMA, "confirm.first_seed": config.seeds}.items():
        value = attrgetter(key)(config)
        if value is not None and not value >= minimum:
            kind = "a number" if key == "margin" else "an integer"
            fresh = "Confirmed seeds are fresh, and a search uses 0 to seeds - 1"
            cure = fresh if key == "confirm.first_seed" else ""
            raise OptionError(key, value, f"{kind} >= {minimum}", cure)
    if not config.objectives:
        raise OptionError("objectives", "[]", "at least one number of result.json")
