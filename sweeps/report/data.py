"""The data of a report, read once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial

from ..config.objectives import Objective
from ..results.formatting import decimals
from ..results.ranking import Standing
from ..results.sweep_dir import ArmResults, Sweep
from .figures.style import ArmStyle, arm_styles
from .logs import ExpertTable, Log, read_log, read_tables, route_columns
from .studies import StudyData, read_studies

#: Short names of metrics; others are called by their path.
_NAMES = {
    "score.best.value": "at best validation",
    "load.max_violation": "max violation",
    "load.cv": "load CV",
    "load.dropped": "dropped",
    "compute.flops_per_item": "FLOPs per item",
    "compute.parameters": "parameters",
    "compute.active_parameters": "active parameters",
    "compute.train_seconds": "training seconds",
    "compute.items_per_second": "training samples/s",
    "compute.step_seconds": "seconds of a step",
    "compute.peak_memory_bytes": "peak memory in bytes",
    "compute.cpu_energy_joules": "energy of CPUs in J",
    "compute.gpu_energy_joules": "energy of GPUs in J",
}


@dataclass(frozen=True)
class ArmData:
    """An arm with its style, its numbers and its logs."""

    standing: Standing
    style: ArmStyle

    @property
    def arm(self) -> ArmResults:
        """The arm as the sweep left it."""
        return self.standing.arm

    @property
    def label(self) -> str:
        """Its name in the sweep."""
        return self.arm.label

    @cached_property
    def logs(self) -> list[Log]:
        """The logs of its confirmed runs, with measures of routes that they kept."""
        runs = zip(self.arm.folders, self.arm.runs, strict=True)
        return [{**read_log(folder), **route_columns(run)} for folder, run in runs]

    @cached_property
    def tables(self) -> list[ExpertTable]:
        """The expert tables of its first confirmed run."""
        return read_tables(self.arm.folders[0]) if self.arm.folders else []

    @property
    def routed(self) -> bool:
        """Whether a layer has several experts; the load of a dense layer is not interesting."""
        layers = (layer for run in self.arm.runs for layer in run.get("layers") or ())
        return any(len(layer["load"]) > 1 for layer in layers)

    def nmi(self, layer: int, by: str) -> float | None:
        """Normalized mutual information of experts and kinds in a layer, the mean over seeds."""
        found = [
            value
            for run in self.arm.runs
            if layer < len(layers := run.get("layers") or ())
            if isinstance(value := (layers[layer].get("nmi") or {}).get(by), int | float)
        ]
        return fmean(found) if found else None

    @property
    def locations(self) -> set[tuple[Path, str]]:
        """Folder of its sweep and its name there, from the folders of its runs and trials."""
        inside = [*self.arm.folders[:1], *(trial["folder"] for trial in self.arm.trials[:1])]
        return {(path.parents[2].resolve(), path.parent.name) for path in inside}

    def trials_of(self, studies: Sequence[StudyData]) -> list[FrozenTrial]:
        """Return its trials in the studies; an empty list where the storage is gone."""
        return [
            trial
            for study in studies
            for name, trials in study.trials.items()
            if (study.folder, name) in self.locations
            for trial in trials
        ]


@dataclass(frozen=True)
class ReportData:
    """A sweep with its arms, best first, and the studies of its search."""

    sweep: Sweep
    arms: Sequence[ArmData]
    studies: Sequence[StudyData]

    @cached_property
    def standings(self) -> list[Standing]:
        """The rows of the leaderboard."""
        return [each.standing for each in self.arms]

    @cached_property
    def runs(self) -> list[Mapping[str, Any]]:
        """The results of all confirmed runs."""
        return [run for each in self.arms for run in each.arm.runs]

    @cached_property
    def decimals(self) -> int:
        """Number of decimals of scores."""
        return decimals(row.interval.width for row in self.standings)

    @property
    def main(self) -> Objective:
        """The objective that ranks the arms."""
        return self.sweep.objectives[0]

    @property
    def styles(self) -> Mapping[str, ArmStyle]:
        """The style of each arm by label."""
        return {each.label: each.style for each in self.arms}

    def name_of(self, metric: str) -> str:
        """Return a short name of a metric."""
        return self.sweep.score if metric == self.main.metric else _NAMES.get(metric, metric)

    def named(self, objective: Objective) -> Objective:
        """Return an objective with the short name of its metric."""
        return replace(objective, metric=self.name_of(objective.metric))


def base_labels(sweep: Sweep) -> dict[str, str]:
    """Return the arm that each arm belongs to: further trials of a front carry its slug."""
    labels = {arm.slug: arm.label for arm in sweep.arms}
    found = {}
    for arm in sweep.arms:
        base = re.sub(r"-\d{4}$", "", arm.slug)
        is_further = base != arm.slug and not arm.trials
        found[arm.label] = labels.get(base, arm.label) if is_further else arm.label
    return found


def collect(sweep: Sweep, rows: Sequence[Standing], storage: str | None = None) -> ReportData:
    """Collect the data for the report of a sweep; ``storage`` is as for `read_studies`."""
    bases = base_labels(sweep)
    styles = arm_styles([(arm.label, bases[arm.label], arm.control) for arm in sweep.arms])
    arms = [ArmData(row, styles[row.arm.label]) for row in rows]
    studies = [study for folder in sweep.folders for study in read_studies(folder, storage)]
    return ReportData(sweep, arms, studies)
