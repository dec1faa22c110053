"""What the tests of sweeps share: sweeps of seconds, and what they leave behind."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

import routers
from sweeps import main
from sweeps.workers.forkserver import trial_context, warm_up
from tasks import compose

from ..router_samples import layout, traits


def _reads_nothing(name: str) -> bool:
    return not (traits(name).has_logits or traits(name).needs_ids or traits(name).needs_task)


def _first(kind: Callable[[str], bool]) -> str:
    return next(filter(kind, routers.available()))


#: The default router, whose items choose; one whose experts do; and a control that reads nothing.
ARMS = (
    compose([]).router["name"],
    _first(lambda name: layout(name) == {"fan_in"}),
    _first(lambda name: _reads_nothing(name) and layout(name) == {"fan_out"}),
)

RUN = (
    "task=digits",
    "task.model.dim=16",
    "task.model.depth=2",
    "expert.hidden=16",
    "trainer.max_epochs=1",
    "trainer.max_steps=2",
)

#: All arms, a choice and a rate to search, two fresh seeds.
TINY = (
    f"run=[{','.join(RUN)}]",
    f"arms=[{','.join(ARMS[:-1])}]",
    f"controls=[{ARMS[-1]}]",
    "space={optimizer.lr: {low: 1e-3, high: 1e-2, log: true}}",
    "sampler=random",
    "trials=2",
    "confirm={seeds: 2, first_seed: 1000}",
    "threads=1",
    "quiet=true",
)


def process_context() -> Any:
    """Starts processes that have all imports done, as trials are started."""
    warm_up()
    return trial_context()


def sweep(out: Path, *arguments: str) -> int:
    """Run a tiny sweep; returns the exit code."""
    return main([*TINY, f"out={out}", *arguments])


def trials_of(out: Path, study: str) -> list[FrozenTrial]:
    """The trials of one study of a sweep."""
    loaded = optuna.load_study(study_name=f"sweep/{study}", storage=f"sqlite:///{out}/study.db")
    return loaded.get_trials()


def drawn(out: Path, study: str) -> list[tuple[dict[str, Any], list[float] | None]]:
    """What the trials of a study tried, and what came of it."""
    return [(trial.params, trial.values) for trial in trials_of(out, study)]


def states(out: Path, study: str) -> list[TrialState]:
    """How the trials of a study ended."""
    return [trial.state for trial in trials_of(out, study)]


def confirmed(out: Path) -> dict[str, list[int]]:
    """The seeds that confirmed each arm."""
    return {
        path.parent.name: sorted(
            json.loads(result.read_text())["seed"] for result in path.parent.glob("*/result.json")
        )
        for path in (out / "confirmed").glob("*/arm.json")
    }


def intact(out: Path) -> bool:
    """Whether SQLite finds nothing wrong with the study."""
    with sqlite3.connect(out / "study.db") as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
