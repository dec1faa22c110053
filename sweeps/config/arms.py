"""What is compared: routers and the controls they must beat."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import routers
import tasks
from routers import ConfigError, OptionError
from routers.plugins import unknown
from tasks import Config, Task

from .schema import SweepConfig


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        label: what it is called.
        slug: the name of its folders.
        overrides: what tells it from other arms, as for ``python -m tasks``.
        control: whether it is there to be beaten.
        run: the whole configuration of its runs, without a seed of their own.
    """

    label: str
    slug: str
    overrides: tuple[str, ...]
    control: bool
    run: Config


#: From the first arm's overrides to the overrides of a control.
CONTROLS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "uniform": lambda first: ["router=uniform"],
    "random_fixed": lambda first: ["router=random_fixed"],
    "iso_flop": lambda first: [*first, "moe.control=iso_flop"],
    "iso_parameter": lambda first: [*first, "moe.control=iso_parameter"],
}

#: What a control is called; dense ones say whose cost they have.
LABELS = {
    "iso_flop": "dense, FLOPs of {first}",
    "iso_parameter": "dense, parameters of {first}",
}


class Bench:
    """Builds networks to see what fits a task; data of equal tasks is read once."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def task(self, run: Config) -> Task:
        """The task of a run, its data read."""
        key = repr(run.task)
        if key not in self._tasks:
            task = tasks.build_task(run)
            task.data()
            self._tasks[key] = task
        return self._tasks[key]

    def check(self, run: Config) -> None:
        """Raise ``ConfigError`` for settings out of range, or parts that do not fit together."""
        tasks.check_ranges(run)
        tasks.build_backbone(run, self.task(run))


def read_arms(config: SweepConfig, bench: Bench) -> tuple[list[Arm], list[str]]:
    """The arms of a sweep, controls last, and why others were left out.

    Raises:
        ConfigError: where an arm that was asked for cannot run.
    """
    for name in config.controls:
        if name not in CONTROLS:
            raise unknown("controls", name, CONTROLS)
    left_out: list[str] = []
    if config.arms is None:
        written, left_out = _all_routers(config, bench)
    else:
        written = _written(config.arms)
    arms = [_arm(config, bench, label, overrides) for label, overrides in written.items()]
    first = arms[0]
    for name in config.controls:
        label = LABELS.get(name, name).format(first=first.label)
        if label not in written:
            overrides = CONTROLS[name](first.overrides)
            arms.append(_arm(config, bench, label, overrides, control=True))
    slugs = [arm.slug for arm in arms]
    for arm in arms:
        if slugs.count(arm.slug) > 1:
            raise ConfigError(f"arms: {arm.label}: another arm has the folder {arm.slug} too")
    return arms, left_out


def _written(arms: Any) -> dict[str, list[str]]:
    if isinstance(arms, list) and arms and all(isinstance(name, str) for name in arms):
        return {name: [f"router={name}"] for name in arms}
    if isinstance(arms, dict) and arms and all(map(_is_overrides, arms.values())):
        return {str(label): overrides for label, overrides in arms.items()}
    raise OptionError("arms", arms, "[router, …], or {label: [key=value, …]}, or null for all")


def _is_overrides(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and "=" in text for text in value)


def _all_routers(config: SweepConfig, bench: Bench) -> tuple[dict[str, list[str]], list[str]]:
    """Every router that the task takes, the run's own first."""
    own = tasks.compose(config.run)
    bench.task(own)  # a task that cannot work is no router's fault
    names: Iterable[str] = sorted(routers.available(), key=lambda n: n != own.router["name"])
    written, left_out = {}, []
    for name in names:
        if name in config.controls:
            continue
        overrides = [f"router={name}"]
        try:
            bench.check(tasks.compose([*config.run, *overrides]))
        except ConfigError as error:
            left_out.append(f"{name} is left out: {error}")
        else:
            written[name] = overrides
    if not written:
        raise ConfigError(f"arms: no router fits: {'; '.join(left_out)}")
    return written, left_out


def _arm(
    config: SweepConfig, bench: Bench, label: str, overrides: Sequence[str], control: bool = False
) -> Arm:
    _refuse_own_keys(label, [*config.run, *overrides])
    try:
        run = tasks.compose([*config.run, *overrides])
        bench.check(run)
    except ConfigError as error:
        raise ConfigError(f"arm {label}: {error}") from error
    return Arm(label, slug(label), tuple(overrides), control, run)


def _refuse_own_keys(label: str, overrides: Sequence[str]) -> None:
    for text in overrides:
        if (key := text.partition("=")[0]) in ("seed", "out", "resume"):
            raise ConfigError(f"arm {label}: {text}: a sweep sets {key} itself; remove it")


def slug(label: str) -> str:
    """A label as the name of a folder.

    >>> slug("dense, FLOPs of topk")
    'dense-flops-of-topk'
    """
    return re.sub(r"[^a-z0-9_]+", "-", label.lower()).strip("-") or "arm"
