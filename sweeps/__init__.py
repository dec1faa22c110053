"""Sweeps compare routers: equal budgets, several objectives, fresh seeds for reported scores."""

from switchyard_moe import check_packages

check_packages("sweeps")

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config.compose import compose as compose
    from .config.objectives import Objective as Objective
    from .config.plan import make_plan as make_plan
    from .driver.driver import StoppedSweepError as StoppedSweepError
    from .engines import ENGINES as ENGINES
    from .engines import Engine as Engine
    from .engines import Handle as Handle
    from .report.build import write_report as write_report
    from .results.leaderboard import write_leaderboard as write_leaderboard
    from .results.ranking import standings as standings
    from .results.ranking import verdicts_of as verdicts_of
    from .results.sweep_dir import read_sweep as read_sweep
    from .results.sweep_dir import read_sweeps as read_sweeps
    from .search.space import read_space as read_space
    from .stages.cli import main as main
    from .stages.sweep import run_sweep as run_sweep
    from .storage.connect import open_storage as open_storage
    from .workers.job import Job as Job

#: Names by the module that defines them, imported at first use: some need Optuna or SciPy.
_MODULES = {
    "config.compose": ("compose",),
    "config.objectives": ("Objective",),
    "config.plan": ("make_plan",),
    "driver.driver": ("StoppedSweepError",),
    "engines": ("ENGINES", "Engine", "Handle"),
    "report.build": ("write_report",),
    "results.leaderboard": ("write_leaderboard",),
    "results.ranking": ("standings", "verdicts_of"),
    "results.sweep_dir": ("read_sweep", "read_sweeps"),
    "search.space": ("read_space",),
    "stages.cli": ("main",),
    "stages.sweep": ("run_sweep",),
    "storage.connect": ("open_storage",),
    "workers.job": ("Job",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
