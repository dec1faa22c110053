"""Arms of a sweep: the routers to compare and the controls they must beat."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import routers
import tasks
from routers import ConfigError, OptionError
from routers.plugins import unknown
from tasks import Config

from .compose import SweepConfig
from .run_checker import RunChecker


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


def read_arms(config: SweepConfig, checker: RunChecker) -> tuple[list[Arm], list[str]]:
    """The arms of a sweep, controls last, and why others were left out.

    Raises:
        ConfigError: if a requested arm cannot run.
    """
    check_controls(config.controls)
    left_out: list[str] = []
    if config.arms is None:
        written, left_out = _all_routers(checker, config.controls)
    else:
        written = written_arms(config.arms)
    arms = [_arm(checker, label, overrides) for label, overrides in written.items()]
    controls = control_arms(written, config.controls).items()
    arms += [_arm(checker, label, overrides, control=True) for label, overrides in controls]
    check_folders(arms)
    return arms, [*left_out, *(checker.notes if len(arms) > 1 else ())]


def check_controls(names: Sequence[str]) -> None:
    """Raise ``ConfigError`` for the name of a control that does not exist."""
    for name in names:
        if name not in CONTROLS:
            raise unknown("controls", name, CONTROLS)


def control_arms(
    written: Mapping[str, Sequence[str]], names: Sequence[str]
) -> dict[str, list[str]]:
    """Overrides of the controls by label, without those among the arms.

    >>> control_arms({"topk": ["router=topk"]}, ["iso_flop"])
    {'dense, FLOPs of topk': ['router=topk', 'moe.control=iso_flop']}
    """
    first, overrides = next(iter(written.items()))
    found = {}
    for name in names:
        title, override = CONTROLS[name]
        shared = overrides if override.startswith("moe.") else ()
        found[title.format(first=first)] = [*shared, override]
    return {label: own for label, own in found.items() if label not in written}


def check_folders(arms: Sequence[Arm]) -> None:
    """Raise ``ConfigError`` for arms that would share a folder."""
    slugs = [arm.slug for arm in arms]
    for arm in arms:
        if slugs.count(arm.slug) > 1:
            raise ConfigError(f"arms: {arm.label}: another arm also has the folder {arm.slug}")


def router_overrides(name: str) -> list[str]:
    """Overrides of an arm that is a router: tables drawn at random are others for every seed.

    >>> router_overrides("hash")
    ['router=hash', 'router.seed=${seed}']
    """
    known = name in routers.available()
    drawn = known and "seed" in routers.ROUTERS.options(name)
    return [f"router={name}", *(["router.seed=${seed}"] if drawn else [])]


def written_arms(arms: Any) -> dict[str, list[str]]:
    """Overrides of the arms in a configuration, by label."""
    if isinstance(arms, list) and arms and all(isinstance(name, str) for name in arms):
        return {name: router_overrides(name) for name in arms}
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
        overrides = router_overrides(name)
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
    try:
        return make_arm(checker, label, overrides, control)
    except ConfigError as error:
        raise ConfigError(f"arm {label}: {error}{_nearest(checker, overrides)}") from error


def make_arm(checker: RunChecker, label: str, overrides: Sequence[str], control: bool) -> Arm:
    """Compose and check an arm.

    Raises:
        ConfigError: if it cannot run.
    """
    for text in (*checker.shared, *overrides):
        if (key := text.partition("=")[0]) in ("seed", "out", "resume"):
            raise ConfigError(f"{text}: a sweep sets {key} itself; remove it")
    run, parameters = checker.compose(overrides)
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
