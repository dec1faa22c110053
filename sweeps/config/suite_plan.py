"""Plan of a suite: a plan for each benchmark, with the arms that it cannot take as gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import routers
import tasks
from routers import ConfigError, OptionError
from tasks import user_path

from ..engines import Engine
from ..storage.driver_lock import check_free
from .arms import Arm, check_controls, check_folders, control_arms, make_arm, written_arms
from .compose import SweepConfig
from .plan import MUTABLE_KEYS, Plan, make_engine, resolve
from .run_checker import RunChecker
from .suite import SuiteConfig

#: Keys of a benchmark that may change when a suite resumes; the protocol restricts how.
GROWING_KEYS = ("arms", "controls", "confirm", "resolved")


@dataclass(frozen=True)
class SuiteArm:
    """An arm of a suite: what distinguishes it, and whether it is a baseline to beat."""

    overrides: tuple[str, ...]
    control: bool


@dataclass(frozen=True)
class SuitePlan:
    """A resolved and checked suite.

    Attributes:
        config: the suite as written.
        engine: where the trials of all benchmarks run.
        folder: of the suite; the folder of a benchmark is in it.
        arms: all arms by label, controls last.
        plans: the sweep of each benchmark.
        gaps: for each benchmark, the reason for each arm that it cannot take.
        left_out: why no benchmark can take a router, where the arms are all registered ones.
    """

    config: SuiteConfig
    engine: Engine
    folder: Path
    arms: Mapping[str, SuiteArm]
    plans: Sequence[Plan]
    gaps: Mapping[str, Mapping[str, str]]
    left_out: Mapping[str, str]

    @property
    def notes(self) -> list[str]:
        """Messages to print before the suite starts."""
        gaps = [
            f"{name}: {label} is a gap: {reason}"
            for name, own in self.gaps.items()
            for label, reason in own.items()
        ]
        left_out = [f"{label} is left out: {why}" for label, why in self.left_out.items()]
        notes = [plan.titled(note) for plan in self.plans for note in plan.notes]
        return [*left_out, *gaps, *notes]


def make_suite_plan(config: SuiteConfig) -> SuitePlan:
    """Resolve and check a suite.

    Raises:
        ConfigError: for any invalid setting, or an arm that no benchmark can take.
    """
    shared = config.shared
    folder = user_path(shared.out or f"runs/{config.name}")
    check_free(folder)  # before the rest of the plan, which takes longer
    engine = make_engine(shared)
    check_controls(shared.controls)
    arms = _suite_arms(shared)
    gaps: dict[str, dict[str, str]] = {}
    plans = []
    for name, sweep in config.sweeps.items():
        try:
            plan, gaps[name] = _benchmark(
                name, sweep, arms, engine, f"{config.name}/{name}", folder
            )
        except ConfigError as error:
            raise ConfigError(f"benchmarks.{name}: {error}") from error
        plans.append(plan)
    fits_nowhere = [label for label in arms if all(label in own for own in gaps.values())]
    if fits_nowhere and shared.arms is not None:
        label = fits_nowhere[0]
        lines = "".join(f"\n  {name}: {own[label]}" for name, own in gaps.items())
        raise ConfigError(f"arm {label}: no benchmark can take it; remove it:{lines}")
    left_out = {
        label: "no benchmark can take it: "
        + "; ".join(dict.fromkeys(own.pop(label) for own in gaps.values()))
        for label in fits_nowhere
    }
    arms = {label: arm for label, arm in arms.items() if label not in left_out}
    if config.tuning == "shared":
        _check_same_spaces(plans)
    if shared.trials > 1 and not any(any(plan.spaces.values()) for plan in plans):
        cure = "Name ranges in space, as in space={optimizer.lr: {low: 1e-4, high: 1e-2}}"
        raise OptionError("trials", shared.trials, "1, as the space of every arm is empty", cure)
    workers = max(plan.workers for plan in plans)
    plans = [replace(plan, config=replace(plan.config, workers=workers)) for plan in plans]
    return SuitePlan(config, engine, folder, arms, plans, gaps, left_out)


def _suite_arms(config: SweepConfig) -> dict[str, SuiteArm]:
    """All arms by label; null is every registered router, the default one first."""
    default = tasks.compose([]).router["name"]
    every = sorted(
        set(routers.available()) - set(config.controls), key=lambda name: (name != default, name)
    )
    written = written_arms(every if config.arms is None else config.arms)
    controls = control_arms(written, config.controls)
    return {
        **{label: SuiteArm(tuple(own), False) for label, own in written.items()},
        **{label: SuiteArm(tuple(own), True) for label, own in controls.items()},
    }


def _benchmark(
    name: str,
    config: SweepConfig,
    arms: Mapping[str, SuiteArm],
    engine: Engine,
    study: str,
    folder: Path,
) -> tuple[Plan, dict[str, str]]:
    """The plan of a benchmark, and the reasons why it cannot take some of the arms."""
    checker = RunChecker(config.run)
    checker.task(tasks.compose(checker.shared))  # an invalid task is an error, not a gap
    fitting: list[Arm] = []
    gaps: dict[str, str] = {}
    for label, arm in arms.items():
        try:
            fitting.append(make_arm(checker, label, arm.overrides, arm.control))
        except ConfigError as error:
            gaps[label] = str(error)
    if not any(not arm.control for arm in fitting):
        reasons = "; ".join(f"{label}: {reason}" for label, reason in gaps.items())
        raise ConfigError(f"no arm fits: {reasons}")
    check_folders(fitting)
    config = replace(config, sweep=study)
    plan = resolve(config, checker, fitting, engine, study, folder / name)
    return replace(plan, benchmark=name, mutable=(*GROWING_KEYS, *MUTABLE_KEYS)), gaps


def _check_same_spaces(plans: Sequence[Plan]) -> None:
    """Raise ``ConfigError`` if an arm has different spaces in two benchmarks."""
    seen: dict[str, tuple[str, object]] = {}
    for plan in plans:
        for label, space in plan.spaces.items():
            ranges = [(each.name, each.distribution, each.when) for each in space]
            name, first = seen.setdefault(label, (plan.benchmark, ranges))
            if first != ranges:
                raise ConfigError(
                    f"tuning=shared: the space of {label} differs between the benchmarks {name} "
                    f"and {plan.benchmark}; name its ranges in space of the suite, and null for "
                    "keys that only one of them has"
                )
