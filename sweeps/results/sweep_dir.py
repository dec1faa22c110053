"""Reader of a sweep's folder: arms, confirmed runs and trials of the search."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import OmegaConf

from routers import ConfigError, OptionError
from routers.plugins import unknown
from tasks import RESULT, check_format, overrides

from ..config.arms import slug
from ..config.compose import SWEEP_FILE
from ..config.confirm import SeedPlan
from ..config.objectives import DIRECTIONS, Objective, number_at
from .files import read_shaped
from .shapes import ARM_SHAPE, RESULT_SHAPE, SWEEP_SHAPE, Shape, misfit

#: File in the folder of a confirmed arm that describes it.
ARM_FILE = "arm.json"
TRIALS, CONFIRMED = "trials", "confirmed"


@dataclass(frozen=True)
class ArmResults:
    """Results of an arm: its confirmed runs and its trials.

    Attributes:
        label, slug: its names in tables and of its folders.
        control: whether it is a baseline to beat.
        overrides: what distinguishes it from other arms, including tuned values.
        command: repeats its first run.
        params: of its best trial, by key.
        search: values of that trial in the search, by metric: the best of many, so biased.
        pareto: whether that trial lies on the Pareto front of the search.
        planned: number of seeds to confirm it, at the first look if verdicts decide on more.
        seeds, runs, folders: of its finished runs in order, with their ``result.json``.
        trials: of the search: ``{"number", "folder", "runs"}``, with the finished runs of each.
    """

    label: str
    slug: str
    control: bool
    overrides: tuple[str, ...]
    command: str
    params: Mapping[str, Any]
    search: Mapping[str, float | None]
    pareto: bool
    planned: int
    seeds: tuple[int, ...] = ()
    runs: tuple[Mapping[str, Any], ...] = ()
    folders: tuple[Path, ...] = ()
    trials: tuple[Mapping[str, Any], ...] = ()

    def numbers(self, metric: str) -> dict[int, float]:
        """A metric of the confirmed runs by seed, if it is a number."""
        found = {s: number_at(run, metric) for s, run in zip(self.seeds, self.runs, strict=True)}
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, metric: str) -> float:
        """Mean of a metric over the confirmed runs; NaN if no run has it."""
        values = self.numbers(metric).values()
        return fmean(values) if values else nan


@dataclass(frozen=True)
class Sweep:
    """Results of a sweep, or of several merged sweeps.

    ``config`` is that of the first sweep; the first objective is the main one; scores closer than
    ``margin`` are equivalent; arms have different labels and are compared at the looks of ``plan``.
    """

    config: Mapping[str, Any]
    objectives: tuple[Objective, ...]
    margin: float
    plan: SeedPlan
    arms: tuple[ArmResults, ...]
    folders: tuple[Path, ...] = ()

    @property
    def score(self) -> str:
        """Title of the main objective: the task's name of its score."""
        metric = self.objectives[0].metric
        names = {run["score"]["name"] for arm in self.arms for run in arm.runs}
        return names.pop() if metric == "score.value" and len(names) == 1 else metric


def read_sweep(folder: Path) -> Sweep:
    """Read the results of a sweep; if it has not finished, some arms lack runs.

    A run or an ``arm.json`` that is damaged is left out, with a warning that names the file.

    Raises:
        ConfigError: for a folder without a sweep, or a damaged ``sweep.yaml``.
    """
    folder = Path(folder)
    config = read_config(folder)
    plan = _seed_plan(folder, config["confirm"]["seeds"])
    known = _known(folder, config)
    seen = [path.name for part in (CONFIRMED, TRIALS) for path in _folders(folder / part)]
    arms = tuple(
        _arm(folder, name, known.get(name, {"arm": name}), plan.first)
        for name in dict.fromkeys([*known, *seen])
    )
    margin = float(config.get("margin") or 0.0)
    return Sweep(config, _objectives(folder, config, arms), margin, plan, arms, (folder,))


def read_sweeps(folders: Sequence[Path]) -> Sweep:
    """Read several sweeps as one; the sweep's name is appended to labels that two of them use.

    Raises:
        ConfigError: if a folder has no sweep, or if objectives or data differ, so that results
            are not comparable.
    """
    if not folders:
        raise ConfigError("report: expected at least one folder of a sweep")
    unique = {Path(folder).resolve(): Path(folder) for folder in folders}
    found = [read_sweep(folder) for folder in unique.values()]
    first, *others = found
    for other in others:
        if first.objectives != other.objectives:
            one, two = (
                ", ".join(f"{o.direction} {o.metric}" for o in s.objectives) for s in (first, other)
            )
            raise ConfigError(
                f"{first.folders[0]} and {other.folders[0]}: their objectives differ ({one}; "
                f"{two}), so they cannot share a report; report each separately"
            )
    if not others:
        return first
    arms = _merged_arms(found)
    _check_same_data(arms)
    return replace(
        first,
        margin=max(sweep.margin for sweep in found),
        plan=_merged_plan(found),
        arms=arms,
        folders=tuple(sweep.folders[0] for sweep in found),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read the ``sweep.yaml`` in the folder of a sweep, without interpolations.

    An interpolation may name a variable of this machine's environment, and reports are published.

    Raises:
        ConfigError: for a folder without a sweep, or a file that is damaged or of a later format.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder: expected the out of a sweep")
    path = folder / SWEEP_FILE
    if not path.exists():
        inside = sorted(each.parent.name for each in folder.glob(f"*/{SWEEP_FILE}"))
        hint = f"; did you mean {folder / inside[0]}?" if inside else ""
        if (folder / RESULT).exists():
            hint = "; it is one run of python -m tasks"
        raise ConfigError(f"{folder}: not the folder of a sweep, as it holds no {SWEEP_FILE}{hint}")
    loaded = OmegaConf.to_container(overrides.load_yaml(path), resolve=False)
    check_format(path, loaded)
    _check_shape(path, loaded, SWEEP_SHAPE)
    assert isinstance(loaded, dict)
    return {str(key): value for key, value in loaded.items()}


def _check_shape(path: Path, value: Any, shape: Shape) -> None:
    if problem := misfit(value, shape):
        raise ConfigError(f"{path}: {problem}; the file is damaged")


def _seed_plan(folder: Path, seeds: Any) -> SeedPlan:
    try:
        return SeedPlan.read(seeds)
    except OptionError as error:
        raise ConfigError(f"{folder / SWEEP_FILE}: {error}; the file is damaged") from error


def _known(folder: Path, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Arms in the sweep's configuration, by slug, including those that never started."""
    written = config.get("resolved") or config.get("arms") or {}
    arms = written
    if not isinstance(written, Mapping):
        _check_shape(folder / SWEEP_FILE, {"arms": written}, {"arms": [str]})
        arms = {label: {} for label in written}
    found: dict[str, dict[str, Any]] = {}
    for label, entry in arms.items():
        about = dict(entry) if isinstance(entry, Mapping) else {"overrides": entry}
        _check_shape(folder / SWEEP_FILE, {"arms": {label: about}}, {"arms": {"*": ARM_SHAPE}})
        found[str(about.get("slug") or slug(str(label)))] = {**about, "arm": str(label)}
    return found


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _arm(folder: Path, name: str, known: Mapping[str, Any], planned: int) -> ArmResults:
    home = folder / CONFIRMED / name
    written = read_shaped(home / ARM_FILE, ARM_SHAPE) or {}
    about = {**known, **{key: value for key, value in written.items() if value is not None}}
    runs = _by_seed(home)
    return ArmResults(
        label=str(about["arm"]),
        slug=name,
        control=bool(about.get("control", False)),
        overrides=tuple(about.get("overrides") or ()),
        command=about.get("command") or "",
        params=about.get("params") or {},
        search=about.get("search") or {},
        pareto=bool(about.get("pareto", False)),
        planned=planned,
        seeds=tuple(runs),
        runs=tuple(run for _, run in runs.values()),
        folders=tuple(path for path, _ in runs.values()),
        trials=tuple(
            {
                "number": int(path.name) if path.name.isdecimal() else None,
                "folder": path,
                "runs": [run for _, run in _by_seed(path).values()],
            }
            for path in _folders(folder / TRIALS / name)
        ),
    )


def _by_seed(home: Path) -> dict[int, tuple[Path, dict[str, Any]]]:
    """Finished runs by seed, without running ones and those whose result cannot be read."""
    found = {}
    for path in home.glob("seed-*"):
        number = path.name.removeprefix("seed-")
        if number.isdecimal() and (run := read_shaped(path / RESULT, RESULT_SHAPE)) is not None:
            found[int(number)] = path, run
    return dict(sorted(found.items()))


def _objectives(
    folder: Path, config: Mapping[str, Any], arms: Sequence[ArmResults]
) -> tuple[Objective, ...]:
    written = config["objectives"]
    if not written:
        raise ConfigError(f"{folder / SWEEP_FILE}: objectives is empty; the file is damaged")
    score = next((run["score"]["direction"] for arm in arms for run in arm.runs), "maximize")
    found = []
    for each in written:
        fields = each if isinstance(each, Mapping) else {"metric": each}
        metric = str(fields.get("metric"))
        default = score if metric.startswith("score.") else "minimize"
        direction = str(fields.get("direction") or default)
        if direction not in DIRECTIONS:
            raise unknown(f"{SWEEP_FILE}: objectives: {metric}: direction", direction, DIRECTIONS)
        found.append(Objective(metric, DIRECTIONS[direction]))
    return tuple(found)


def _check_same_data(arms: Sequence[ArmResults]) -> None:
    """Raise ``ConfigError`` if arms ran on different data: scores are not comparable."""
    seen: dict[Any, str] = {}
    for arm in arms:
        for run in arm.runs:
            data = run.get("data") or {}
            hashes = data.get("sha256"), data.get("split_sha256")
            seen.setdefault((run.get("task"), *hashes), arm.label)
    if len(seen) > 1:
        (one, a), (other, b) = list(seen.items())[:2]
        raise ConfigError(
            f"{a} and {b} ran on different data ({one[0]}, {other[0]}; sha256 {str(one[1])[:8]}, "
            f"{str(other[1])[:8]}), so they are not comparable; report each sweep separately"
        )


def _merged_plan(sweeps: Sequence[Sweep]) -> SeedPlan:
    """The plan of all sweeps if they have the same; else one look at the seeds that arms share."""
    first = sweeps[0]
    if all(each.config["confirm"] == first.config["confirm"] for each in sweeps):
        return first.plan
    complete = [arm.seeds for each in sweeps for arm in each.arms if len(arm.runs) >= arm.planned]
    shared = set.intersection(*map(set, complete)) if complete else ()
    return SeedPlan.fixed(max(1, len(shared)))


def _merged_arms(sweeps: Sequence[Sweep]) -> tuple[ArmResults, ...]:
    """All arms; shared labels get the names of the folders, with those above if names repeat."""
    labels = [arm.label for sweep in sweeps for arm in sweep.arms]
    names = folder_names([sweep.folders[0] for sweep in sweeps])
    merged = []
    for sweep, name in zip(sweeps, names, strict=True):
        for arm in sweep.arms:
            shared = labels.count(arm.label) > 1
            label = f"{arm.label} ({name})" if shared else arm.label
            own = f"{arm.slug}-{slug(name)}" if shared else arm.slug
            merged.append(replace(arm, label=label, slug=own))
    return tuple(merged)


def folder_names(folders: Sequence[Path]) -> list[str]:
    """Names that distinguish folders, with those above if names repeat.

    >>> folder_names([Path("/runs/a/digits"), Path("/runs/b/digits")])
    ['a/digits', 'b/digits']
    """
    paths = [folder.resolve() for folder in folders]
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    above = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(above).as_posix() for path in paths]
