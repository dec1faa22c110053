"""Composition of runs, with the check that their parts fit together."""

import json
from collections.abc import Sequence

import tasks
from routers import ConfigError
from tasks import Config, Task


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
        tasks.check_devices(run.trainer)
        run, task, chosen = self._resolved(run)
        if chosen and self._incomplete:
            note = "the data chooses values for each arm, which may differ: run alone cannot work"
            self.notes = [f"{note} ({self._incomplete}). Complete run, or name them there"]
        tasks.check_ranges(run)
        backbone = tasks.build_backbone(run, task)
        if any(layer.router.traits.needs_recorded for layer in tasks.routed_layers(backbone)):
            tasks.Run(run)  # which checks the run that it replays
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
