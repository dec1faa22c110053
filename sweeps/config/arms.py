"""Arms of a sweep: the routers to compare and the controls they must beat."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import routers
import tasks
from routers import ConfigError, OptionError
from routers.plugins import unknown
from tasks import Config, Task

from .compose import SweepConfig


@dataclass(frozen=True)
class Arm:
    """One configuration in a comparison.

    Attributes:
        label, slug: its names in tables and of its folders.
        overrides: what distinguishes it from other arms, as for ``python -m tasks``.
        control: whether it is a baseline to beat.
        run: the complete configuration of its runs, except the seed.
        parameters: of its network; a dense control may have fewer.
    """

    label: str
    slug: str
    overrides: tuple[str, ...]
    control: bool
    run: Config
    parameters: int


#: Label and override of each control. Dense ones have the cost of the first arm, and its overrides.
CONTROLS = {
    "uniform": ("uniform", "router=uniform"),
    "random_fixed": ("random_fixed", "router=random_fixed"),
    "iso_flop": ("dense, FLOPs of {first}", "moe.control=iso_flop"),
    "iso_parameter": ("dense, parameters of {first}", "moe.control=iso_parameter"),
}


#: Routers that are tried, nearest first, for an arm that cannot work.
_MAX_TRIED = 6


class RunChecker:
    """Composes runs and checks that their parts fit; data of equal tasks is read once.

    ``shared`` are the overrides of all runs, and the values that the data chooses for ``auto``: all
    arms have the same. If only arms complete the task, such as by its data, each arm has its own,
    and ``notes`` say so.
    """

    def __init__(self, shared: Sequence[str]) -> None:
        self.shared = list(shared)
        self.notes: Sequence[str] = ()
        self._tasks: dict[str, Task] = {}
        self._incomplete = ""
        try:
            run = tasks.compose(self.shared)
            if run.auto:
                self.shared += self._resolved(run)[2]
        except ConfigError as error:  # what is wrong with all arms is reported with the first
            self._incomplete = str(error)

    def task(self, run: Config) -> Task:
        """The task of a run, with its data loaded."""
        key = _key(run)
        if key not in self._tasks:
            task = tasks.build_task(run)
            tasks.read_data(run, task)
            self._tasks[key] = task
        return self._tasks[key]

    def compose(self, overrides: Sequence[str]) -> tuple[Config, int]:
        """Compose a run and count its parameters.

        Raises:
            ConfigError: for settings out of range or parts that do not fit.
        """
        run = tasks.compose([*self.shared, *overrides])
        tasks.check_ranges(run)
        run, task, chosen = self._resolved(run)
        if chosen and self._incomplete:
            note = "the data chooses values for each arm, which may differ: run alone cannot work"
            self.notes = [f"{note} ({self._incomplete}). Complete run, or name them there"]
        tasks.check_ranges(run)
        backbone = tasks.build_backbone(run, task)
        return run, sum(values.numel() for values in backbone.parameters())

    def _resolved(self, run: Config) -> tuple[Config, Task, list[str]]:
        """The run with values for ``auto``, its task with data, and the values as overrides."""
        if not run.auto:
            return run, self.task(run), []
        if _key(run) not in self._tasks:
            self._tasks[_key(run)] = tasks.build_task(run)
        run, task, values = tasks.choose(run, self._tasks[_key(run)])
        tasks.read_data(run, task)
        self._tasks[_key(run)] = task
        return run, task, values


def _key(run: Config) -> str:
    return json.dumps(run.task, sort_keys=True, default=str)


def read_arms(config: SweepConfig, checker: RunChecker) -> tuple[list[Arm], list[str]]:
    """The arms of a sweep, controls last, and why others were left out.

    Raises:
        ConfigError: if a requested arm cannot run.
    """
    for name in config.controls:
        if name not in CONTROLS:
            raise unknown("controls", name, CONTROLS)
    left_out: list[str] = []
    if config.arms is None:
        written, left_out = _all_routers(checker, config.controls)
    else:
        written = _written(config.arms)
    arms = [_arm(checker, label, overrides) for label, overrides in written.items()]
    first = arms[0]
    for name in config.controls:
        title, override = CONTROLS[name]
        label = title.format(first=first.label)
        if label not in written:
            shared = first.overrides if override.startswith("moe.") else ()
            arms.append(_arm(checker, label, [*shared, override], control=True))
    slugs = [arm.slug for arm in arms]
    for arm in arms:
        if slugs.count(arm.slug) > 1:
            raise ConfigError(f"arms: {arm.label}: another arm also has the folder {arm.slug}")
    return arms, [*left_out, *(checker.notes if len(arms) > 1 else ())]


def _written(arms: Any) -> dict[str, list[str]]:
    if isinstance(arms, list) and arms and all(isinstance(name, str) for name in arms):
        return {name: [f"router={name}"] for name in arms}
    if isinstance(arms, dict) and arms and all(map(_is_overrides, arms.values())):
        return {str(label): overrides for label, overrides in arms.items()}
    raise OptionError("arms", arms, "[router, …], or {label: [key=value, …]}, or null for all")


def _is_overrides(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) and "=" in text for text in value)


def _all_routers(
    checker: RunChecker, controls: Sequence[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """Every router that the task accepts, the one of ``run`` first, and why others do not fit."""
    default = tasks.compose(checker.shared)
    checker.task(default)  # an invalid task is an error, not a reason to leave routers out
    others = sorted(set(routers.available()) - set(controls))
    written, left_out = {}, list[tuple[str, str]]()
    for name in sorted(others, key=lambda name: name != default.router["name"]):
        overrides = [f"router={name}"]
        try:
            checker.compose(overrides)
        except ConfigError as error:
            left_out.append((name, str(error)))
        else:
            written[name] = overrides
    if not written:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out)
        raise ConfigError(f"arms: no router fits: {reasons}")
    return written, [
        f"{name} is left out: {reason}. The nearest router that can: "
        + next(other for other in _by_likeness(name, default.router["name"]) if other in written)
        for name, reason in left_out
    ]


def _arm(checker: RunChecker, label: str, overrides: Sequence[str], control: bool = False) -> Arm:
    for text in (*checker.shared, *overrides):
        if (key := text.partition("=")[0]) in ("seed", "out", "resume"):
            raise ConfigError(f"arm {label}: {text}: a sweep sets {key} itself; remove it")
    try:
        run, parameters = checker.compose(overrides)
    except ConfigError as error:
        raise ConfigError(f"arm {label}: {error}{_nearest(checker, overrides)}") from error
    return Arm(label, slug(label), tuple(overrides), control, run, parameters)


def _nearest(checker: RunChecker, overrides: Sequence[str]) -> str:
    """Name the router most like that of an arm that can work in its place, if there is one.

    Only if it is the router that cannot work, not its options or another part of the arm.
    """
    rest = [text for text in overrides if not re.match(r"router[.=]", text)]

    def works(router: str) -> bool:
        try:
            checker.compose([*rest, f"router={router}"])
        except ConfigError:
            return False
        return True

    try:
        name = tasks.compose([*checker.shared, *overrides]).router["name"]
    except ConfigError:
        return ""
    default = tasks.compose(checker.shared).router["name"]
    others = () if works(name) else _by_likeness(name, default)[:_MAX_TRIED]
    found = next(filter(works, others), None)
    return "" if found is None else f". The nearest router that can: {found}"


def _by_likeness(name: str, default: str) -> list[str]:
    """The other routers: first those that learn or not like this one, with most equal traits.

    Among equally near ones, ``default`` comes first.
    """
    own = asdict(routers.ROUTERS[name].traits)

    def distance(other: str) -> tuple[bool, int, bool]:
        traits = asdict(routers.ROUTERS[other].traits)
        unequal = sum(own[trait] != traits[trait] for trait in own)
        return own["learned"] != traits["learned"], unequal, other != default

    return sorted((other for other in routers.available() if other != name), key=distance)


def slug(label: str) -> str:
    """Convert a label to the name of a folder.

    >>> slug("dense, FLOPs of topk")
    'dense-flops-of-topk'
    """
    return re.sub(r"[^a-z0-9_]+", "-", label.lower()).strip("-") or "arm"
