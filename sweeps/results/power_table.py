"""Power of sweeps and suites: differences that their seeds detect, and seeds for open pairs."""

from collections.abc import Sequence
from pathlib import Path

from routers import ConfigError

from ..config.confirm import MIN_SEEDS, SeedPlan
from ..statistics.power import NUMBERS, seeds_for_each, smallest_detectable_difference
from ..statistics.verdicts import Scores, Verdict, Word, shared_seeds
from .formatting import NONE, compact, one_line
from .ranking import compared_scores, decisions_of
from .suite_comparison import SuiteComparison
from .suite_dir import is_suite, read_suite
from .sweep_dir import Sweep, read_sweep
from .tables import Column, plain_table


def power_table(folder: Path, power: float = 0.8) -> str:
    """Tables of the power of a sweep or of each benchmark of a suite, as plain text.

    The first has the smallest true difference that the seeds detect, the second the seeds that
    detect the observed difference of each pair that is not distinguishable, if it is the true one.

    Raises:
        ConfigError: for a folder without confirmed runs, from which the noise is estimated.
    """
    sweeps = _sweeps(folder)
    pilots = {name: _pilot(sweep) for name, sweep in sweeps.items()}
    if not any(pilots.values()):
        raise ConfigError(
            f"{folder}: power is estimated from 2 arms of a benchmark with {MIN_SEEDS} confirmed "
            "seeds, and none has them; run the command that started it, with "
            f"confirm.seeds={MIN_SEEDS} or more"
        )
    first = [["benchmark", "score", "arms", "seeds", f"detected with {power:.0%} power"]]
    second = [["benchmark", "not distinguishable", "difference", "seeds needed"]]
    for name, sweep in sweeps.items():
        pilot = pilots[name]
        found = smallest_detectable_difference(pilot, sweep.plan, power) if pilot else None
        arms = str(len(compared_scores(sweep, sweep.objectives[0])))
        first.append([name, one_line(sweep.score), arms, _seeds(sweep.plan), _difference(found)])
        second += [[name, *cells] for cells in _open_pairs(sweep, pilot, power)]
    if len(second) == 1:
        return f"{_table(first)}\nNo pair is without a verdict.\n"
    return f"{_table(first)}\n{_table(second)}"


def power_lines(comparison: SuiteComparison) -> list[str]:
    """The smallest difference that the seeds of each benchmark of a suite detect, as text.

    Benchmarks without verdicts are left out.
    """
    sweeps = {each.name: each.sweep for each in comparison.suite.benchmarks}
    return [
        f"{name}: smallest difference that {_seeds(comparison.plan)} seeds detect with 80% power: "
        f"{_difference(found)} ({one_line(sweeps[name].score)})"
        for name, found in comparison.detectable.items()
    ]


def _sweeps(folder: Path) -> dict[str, Sweep]:
    """The benchmarks of a suite, or a sweep, by name."""
    if is_suite(folder):
        return {each.name: each.sweep for each in read_suite(folder).benchmarks}
    return {folder.resolve().name: read_sweep(folder)}


def _pilot(sweep: Sweep) -> Scores:
    """Scores that show the noise; empty with fewer than 2 arms or 3 shared seeds."""
    found = compared_scores(sweep, sweep.objectives[0])
    return found if len(found) > 1 and len(shared_seeds(found)) >= MIN_SEEDS else {}


def _seeds(plan: SeedPlan) -> str:
    """The number of seeds as text."""
    return f"{plan.first} to {plan.most}" if plan.first < plan.most else str(plan.most)


def _difference(found: float | None) -> str:
    """The smallest difference that is detected, as text; a dash if there is none."""
    return NONE if found is None else compact(found)


def _open_pairs(sweep: Sweep, pilot: Scores, power: float) -> list[list[str]]:
    """Names, difference and seeds of each pair that is not distinguishable, largest first."""
    verdicts = decisions_of(sweep).verdicts.pairs.items()
    pairs = {names: _size(each) for names, each in verdicts if each.word is Word.UNCLEAR}
    if not pairs:
        return []
    needed = seeds_for_each(list(pairs.values()), pilot, power)
    return [
        [
            " / ".join(map(one_line, names)),
            compact(size),
            f"more than {NUMBERS[-1]}" if needed[size] is None else str(needed[size]),
        ]
        for names, size in sorted(pairs.items(), key=lambda each: -each[1])
    ]


def _size(verdict: Verdict) -> float:
    return 0.0 if verdict.pair is None else abs(verdict.pair.difference)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a plain table, the first one as titles."""
    columns = zip(*rows, strict=True)
    return plain_table([Column(title, cells, right=False) for title, *cells in columns])
