"""All that the page shows, read once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from optuna.trial import FrozenTrial

from ..config.objectives import READ_IN_SEARCH, Objective
from ..results.formatting import decimals
from ..results.ranking import Standing, standings
from ..results.sweep_dir import ArmResults, Sweep
from .metrics import Log, read_log
from .study import Searched, read_studies
from .styles import Style, styles
from .tables import Table, read_tables

#: Metrics in a few words; others are called by their path.
_NAMES = {
    "load.max_violation": "max violation",
    "load.cv": "load CV",
    "load.dropped": "dropped",
    "compute.flops_per_item": "FLOPs per item",
    "compute.parameters": "parameters",
    "compute.active_parameters": "active parameters",
    "compute.train_seconds": "training seconds",
}


@dataclass(frozen=True)
class Entrant:
    """An arm with its looks, its numbers and its logs."""

    row: Standing
    look: Style

    @property
    def arm(self) -> ArmResults:
        """The arm itself."""
        return self.row.arm

    @property
    def label(self) -> str:
        """What it is called."""
        return self.arm.label

    @cached_property
    def logs(self) -> list[Log]:
        """What its confirmed runs logged."""
        return [read_log(folder) for folder in self.arm.folders]

    @cached_property
    def tables(self) -> list[Table]:
        """Expert and kind tables of its first confirmed run."""
        return read_tables(self.arm.folders[0]) if self.arm.folders else []

    @property
    def places(self) -> set[tuple[Path, str]]:
        """Folder of its sweep and its name there, as its runs and trials tell them."""
        trials = [trial["folder"] for trial in self.arm.trials[:1]]
        inside = [*(path.parent for path in self.arm.folders[:1]), *(p.parent for p in trials)]
        return {(path.parent.parent.resolve(), path.name) for path in inside}

    def trials_of(self, studies: Sequence[Searched]) -> list[FrozenTrial]:
        """Its trials in Optuna's words; none where the storage is gone."""
        return [
            trial
            for study in studies
            for name, trials in study.trials.items()
            if (study.folder, name) in self.places
            for trial in trials
        ]

    def mean(self, metric: str) -> float | None:
        """A metric's mean over confirmed runs; None without any."""
        values = self.arm.numbers(metric).values()
        return fmean(values) if values else None


@dataclass(frozen=True)
class Material:
    """A sweep, its arms best first."""

    sweep: Sweep
    entrants: Sequence[Entrant]
    studies: Sequence[Searched]

    @cached_property
    def rows(self) -> list[Standing]:
        """The leaderboard."""
        return [each.row for each in self.entrants]

    @cached_property
    def places(self) -> int:
        """Decimals that scores are shown with."""
        return decimals(row.interval.width for row in self.rows)

    @property
    def main(self) -> Objective:
        """What arms are ranked by."""
        return self.sweep.objectives[0]

    @property
    def maximize(self) -> bool:
        """Whether more of the main objective is better."""
        return self.main.direction == "maximize"

    @cached_property
    def looks(self) -> Mapping[str, Style]:
        """Of each arm by label."""
        return {each.label: each.look for each in self.entrants}

    @property
    def search_metric(self) -> str:
        """The main objective as the search reads it."""
        return self.searched_as(self.main.metric)

    def searched_as(self, metric: str) -> str:
        """What the search reads for a metric: it never sees the test split."""
        return READ_IN_SEARCH.get(metric, metric)

    def name_of(self, metric: str) -> str:
        """A metric in words."""
        if metric == self.main.metric:
            return self.sweep.score
        return _NAMES.get(metric, metric)


def base_labels(sweep: Sweep) -> dict[str, str]:
    """The arm that each arm belongs to: further trials of a front carry their arm's slug."""
    labels = {arm.slug: arm.label for arm in sweep.arms}
    found = {}
    for arm in sweep.arms:
        further = re.fullmatch(r"(.+)-\d{4}", arm.slug)
        known = further is not None and not arm.trials
        found[arm.label] = labels.get(further[1], arm.label) if known and further else arm.label
    return found


def gather(sweep: Sweep) -> Material:
    """The material of a sweep."""
    bases = base_labels(sweep)
    looks = styles([(arm.label, bases[arm.label], arm.control) for arm in sweep.arms])
    entrants = [Entrant(row, looks[row.arm.label]) for row in standings(sweep)]
    studies = [study for folder in sweep.folders for study in read_studies(folder)]
    return Material(sweep, entrants, studies)
