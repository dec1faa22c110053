"""Sweeps compare routers: equal budgets, several objectives, fresh seeds for reported scores."""

from switchyard_moe import check_packages

check_packages("sweeps")

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config.compose import compose as compose
    from .config.objectives import Objective as Objective
    from .config.plan import make_plan as make_plan
    from .config.suite import compose_suite as compose_suite
    from .config.suite_plan import make_suite_plan as make_suite_plan
    from .driver.driver import StoppedSweepError as StoppedSweepError
    from .engines import ENGINES as ENGINES
    from .engines import Engine as Engine
    from .engines import Handle as Handle
    from .report.build import write_report as write_report
    from .report.build import write_suite_pages as write_suite_pages
    from .results.leaderboard import write_leaderboard as write_leaderboard
    from .results.ranking import standings as standings
    from .results.ranking import verdicts_of as verdicts_of
    from .results.suite_answer import answer as answer
    from .results.suite_comparison import SuiteComparison as SuiteComparison
    from .results.suite_comparison import comparison_of as comparison_of
    from .results.suite_costs import costs_of as costs_of
    from .results.suite_dir import Benchmark as Benchmark
    from .results.suite_dir import Suite as Suite
    from .results.suite_dir import read_suite as read_suite
    from .results.suite_leaderboard import write_suite_tables as write_suite_tables
    from .results.suite_merge import read_suites as read_suites
    from .results.sweep_dir import read_sweep as read_sweep
    from .results.sweep_dir import read_sweeps as read_sweeps
    from .results.tidy import tidy_rows as tidy_rows
    from .results.tidy import write_tidy as write_tidy
    from .search.space import read_space as read_space
    from .stages.cli import main as main
    from .stages.suite import run_suite as run_suite
    from .stages.sweep import run_sweep as run_sweep
    from .storage.connect import open_storage as open_storage
    from .workers.job import Job as Job

#: Names by the module that defines them, imported at first use: some need Optuna or SciPy.
_MODULES = {
    "config.compose": ("compose",),
    "config.objectives": ("Objective",),
    "config.plan": ("make_plan",),
    "config.suite": ("compose_suite",),
    "config.suite_plan": ("make_suite_plan",),
    "driver.driver": ("StoppedSweepError",),
    "engines": ("ENGINES", "Engine", "Handle"),
    "report.build": ("write_report", "write_suite_pages"),
    "results.leaderboard": ("write_leaderboard",),
    "results.ranking": ("standings", "verdicts_of"),
    "results.suite_answer": ("answer",),
    "results.suite_comparison": ("SuiteComparison", "comparison_of"),
    "results.suite_costs": ("costs_of",),
    "results.suite_dir": ("Benchmark", "Suite", "read_suite"),
    "results.suite_leaderboard": ("write_suite_tables",),
    "results.suite_merge": ("read_suites",),
    "results.sweep_dir": ("read_sweep", "read_sweeps"),
    "results.tidy": ("tidy_rows", "write_tidy"),
    "search.space": ("read_space",),
    "stages.cli": ("main",),
    "stages.suite": ("run_suite",),
    "stages.sweep": ("run_sweep",),
    "storage.connect": ("open_storage",),
    "workers.job": ("Job",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
