"""Typed schema of a sweep's configuration; ``conf/sweep.yaml`` holds the values."""

from dataclasses import dataclass
from typing import Any

#: The resolved configuration in a sweep's folder.
SWEEP_FILE = "sweep.yaml"


@dataclass
class PrunerConfig:
    """Trials that stop before their last epoch."""

    name: str
    first: int
    factor: int


@dataclass
class ConfirmConfig:
    """Fresh runs of the best trials."""

    seeds: int
    first_seed: int


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
    workers: int
    threads: int | None
    retries: int
    storage: str | None
    seed: int
    quiet: bool
    sweep: str | None
    out: str | None
