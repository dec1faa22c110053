"""Tables and reports at the end of a sweep or a suite, read and compared once."""

from collections.abc import Sequence
from pathlib import Path

from ..report.build import write_pages, write_suite_pages
from ..results.leaderboard import write_tables
from ..results.ranking import standings
from ..results.suite_comparison import SuiteComparison, comparison_of
from ..results.suite_costs import costs_of
from ..results.suite_leaderboard import write_suite_tables
from ..results.suite_merge import read_suites
from ..results.sweep_dir import read_sweeps
from ..results.tidy import write_tidy


def write_sweeps(
    folders: Sequence[Path], to: Path, storage: str | None, width: float | None = None
) -> None:
    """Write tables and report of sweeps; print the leaderboard and the path of the report."""
    sweep = read_sweeps(folders)
    rows = standings(sweep)
    to.mkdir(parents=True, exist_ok=True)
    table = write_tables(sweep, rows, to)
    print(f"{table}\nThe report is {write_pages(sweep, rows, to, storage, width)}")


def write_suites(
    folders: Sequence[Path], to: Path, storage: str | None, width: float | None = None
) -> SuiteComparison:
    """Write tables and reports of suites and of each benchmark; print the answer and the table."""
    comparison = comparison_of(read_suites(folders))
    for benchmark in comparison.suite.benchmarks:
        home = to / benchmark.name
        home.mkdir(parents=True, exist_ok=True)
        rows = standings(benchmark.sweep, comparison.verdicts_in(benchmark.name))
        write_tables(benchmark.sweep, rows, home)
        write_pages(benchmark.sweep, rows, home, storage, width)
    costs = costs_of(comparison)
    runs = ", ".join(map(str, write_tidy(comparison.suite, to)))
    table = write_suite_tables(comparison, costs, to)
    page = write_suite_pages(comparison, costs, to, width)
    print(f"{table}\nAll confirmed runs: {runs}\nThe report is {page}")
    return comparison
