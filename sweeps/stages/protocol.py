"""Protocol of a suite: how results are compared, stated before runs are confirmed."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from routers import ConfigError
from tasks import FORMAT, write_text

from ..config.confirm import SeedPlan
from ..config.suite_plan import SuitePlan
from ..config.sweep_folder import flat, unwritable
from ..results.suite_dir import PROTOCOL, read_protocol
from ..statistics.verdicts import LEVEL

#: Packages whose code decides results; a version of the code is the hash of their files.
PACKAGES = ("routers", "experts", "tasks", "sweeps", "conf")

#: Digits of a hash of the code.
_DIGITS = 12


def protocol_of(suite: SuitePlan) -> dict[str, Any]:
    """The protocol of a suite that has not started."""
    confirm = suite.config.shared.confirm
    return {
        "format": FORMAT,
        "suite": suite.config.name,
        "date": _now(),
        "code": code_version(),
        "arms": {
            label: {"overrides": list(arm.overrides), "control": arm.control}
            for label, arm in suite.arms.items()
        },
        "benchmarks": {
            plan.benchmark: {
                "modality": suite.config.modalities[plan.benchmark],
                "run": list(plan.config.run),
                "data": dict(plan.data),
                "objectives": [f"{each.direction} {each.metric}" for each in plan.objectives],
                "margin": plan.config.margin,
                "trials": plan.config.trials,
                "gaps": dict(suite.gaps[plan.benchmark]),
            }
            for plan in suite.plans
        },
        "tuning": suite.config.tuning,
        "seeds": {"first": confirm.first_seed, "number": confirm.seeds},
        "looks": looks_text(confirm.plan),
        "tests": {
            "verdict": "moderated paired tests over seeds on the first objective",
            "correction": (
                "Holm, over all pairs of arms of a benchmark; over all pairs of the suite; and for "
                "what holds in all benchmarks together, over all pairs of all benchmarks"
            ),
            "level": LEVEL,
            "equivalent": "differences within the margin of the benchmark",
        },
        "weights": (
            "of the last step, also for verdicts; validation scores select settings alone; scores "
            "of the weights of the best validation are reported apart"
        ),
        "amendments": [],
    }


def looks_text(plan: SeedPlan) -> str:
    """When results are compared.

    >>> looks_text(SeedPlan.fixed(5))
    'once, when all seeds are confirmed'
    """
    if len(plan.looks) == 1:
        return "once, when all seeds are confirmed"
    looks = ", ".join(map(str, plan.looks))
    return (
        f"with {looks} seeds in each benchmark; a pair of arms stops when it is better, worse or "
        "equivalent on the first objective, and an arm when all its pairs have; O'Brien-Fleming "
        "spending keeps the level over all looks"
    )


def update_protocol(suite: SuitePlan) -> None:
    """Write the protocol of a suite, or add what changed to it as dated amendments.

    Raises:
        ConfigError: for a change that makes runs incomparable with those that exist, or if the
            file cannot be written.
    """
    path = suite.folder / PROTOCOL
    now = protocol_of(suite)
    if path.exists():
        before = read_protocol(suite.folder)
        _check_amendable(suite.folder, before, now)
        changes = list(_changes(before, now))
        if not changes:
            return
        now = _amended(before, now, changes)
    try:
        write_text(path, OmegaConf.to_yaml(OmegaConf.create(now)))
    except OSError as error:
        raise unwritable(suite.folder, error) from error


def code_version() -> str:
    """Hash of the files of code and configuration that results depend on."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:_DIGITS]


def _check_amendable(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for a change other than arms, seeds and benchmarks that are added."""
    one, other = (dict(flat("", _fixed(each, before))) for each in (before, now))
    if keys := [key for key in {**one, **other} if one.get(key, "-") != other.get(key, "-")]:
        lines = [f"  {key}: was {one.get(key, '-')}, is {other.get(key, '-')}" for key in keys]
        raise ConfigError(
            f"out={folder}: holds a suite with another protocol; only arms, benchmarks and "
            "confirm.seeds may be added. Undo the change, or choose another out:\n"
            + "\n".join(lines)
        )
    was, is_ = before["seeds"]["number"], now["seeds"]["number"]
    if isinstance(was, int) and isinstance(is_, int):
        cure = "seeds may be added alone" if is_ < was else ""
    else:
        cure = "a rule is stated before the first run; choose another out" if is_ != was else ""
    if cure:
        raise ConfigError(f"confirm.seeds={is_}: the suite in out={folder} has {was}; {cure}")
    if before["tuning"] == "shared" and (new := now["benchmarks"].keys() - before["benchmarks"]):
        raise ConfigError(
            f"benchmarks.{min(new)}: the suite in out={folder} has tuning=shared, whose settings "
            "are of its benchmarks; choose another out"
        )


def _fixed(protocol: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a protocol that must not change, of arms and benchmarks that were there."""

    def known(part: str, keys: tuple[str, ...]) -> dict[str, Any]:
        found = {name: protocol[part].get(name, {}) for name in before[part]}
        return {name: {key: own.get(key) for key in keys} for name, own in found.items()}

    return {
        "suite": protocol["suite"],
        "arms": known("arms", ("overrides", "control")),
        "benchmarks": known("benchmarks", ("modality", "run", "data", "objectives", "margin")),
        "tuning": protocol["tuning"],
        "seeds": protocol["seeds"]["first"],
    }


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Each change of a protocol in words."""
    for part in ("arms", "benchmarks"):
        yield from (f"{part[:-1]} added: {name}" for name in now[part] if name not in before[part])
    for name, own in before["benchmarks"].items():
        new = now["benchmarks"][name]["gaps"]
        for label in before["arms"]:
            if (label in new) != (label in own["gaps"]):
                change = "a gap now" if label in new else "a gap no more"
                yield f"{label} is {change} in {name}"
    if before["seeds"] != now["seeds"]:
        yield f"confirm.seeds: was {before['seeds']['number']}, is {now['seeds']['number']}"
    if before.get("code") != now["code"]:
        yield f"code: was {before.get('code')}, is {now['code']}"


def _amended(
    before: Mapping[str, Any], now: Mapping[str, Any], changes: list[str]
) -> dict[str, Any]:
    """The protocol as it is, with dates of what came later."""
    date = now["date"]
    merged = {**now, "date": before["date"]}
    for part in ("arms", "benchmarks"):
        merged[part] = {
            name: {**own, "added": before[part].get(name, {}).get("added", date)}
            if name not in before[part] or "added" in before[part][name]
            else own
            for name, own in now[part].items()
        }
    later = [{"date": date, "change": change} for change in changes]
    return {**merged, "amendments": [*before["amendments"], *later]}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
