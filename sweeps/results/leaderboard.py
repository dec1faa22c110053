"""Leaderboard of a sweep in CSV, Markdown, LaTeX and plain text."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..statistics.intervals import MIN_BOOTSTRAP_VALUES, UNKNOWN
from ..statistics.paired_tests import sign_flip
from ..statistics.verdicts import LEVEL, MIN_SEEDS
from .files import write_file
from .formatting import NONE, cell_text, compact, decimals, one_line, with_interval
from .ranking import BEST_VALIDATION, Standing, metrics_of, standings
from .sweep_dir import Sweep, read_sweep
from .tables import Column, escape_markdown, latex_table, markdown_table, plain_table

CSV, MARKDOWN, LATEX = "leaderboard.csv", "leaderboard.md", "leaderboard.tex"


def write_leaderboard(folder: Path) -> str:
    """Write ``leaderboard.csv``, ``.md`` and ``.tex`` atomically; returns a plain table.

    Raises:
        ConfigError: if it is not the folder of a sweep.
    """
    sweep = read_sweep(folder)
    return write_tables(sweep, standings(sweep), folder)


def write_tables(sweep: Sweep, rows: Sequence[Standing], folder: Path) -> str:
    """Write the tables of a sweep, or of several merged into one, to any folder."""
    write_file(folder / CSV, csv_text(sweep, rows))
    write_file(folder / MARKDOWN, markdown_text(sweep, rows))
    write_file(folder / LATEX, latex_text(sweep, rows))
    return plain_text(sweep, rows)


#: Costs in every table, with their titles.
SHOWN = {
    "load.max_violation": "MaxVio",
    "compute.flops_per_item": "FLOPs",
    "compute.parameters": "params",
    "compute.train_seconds": "train s",
}


def columns(sweep: Sweep, rows: Sequence[Standing]) -> list[Column]:
    """Columns of the leaderboard, with a cell for each standing."""
    main, *others = (objective.metric for objective in sweep.objectives)
    titles = {metric: metric for metric in others if metric not in SHOWN} | SHOWN
    digits = decimals(row.interval.width for row in rows)
    scores = [with_interval(row.mean, row.interval, digits) for row in rows]
    missing = ["" if row.rank is not None else f" of {row.arm.planned}" for row in rows]
    seeds = [f"{len(row.scores)}{rest}" for row, rest in zip(rows, missing, strict=True)]
    searched = [with_interval(row.arm.search.get(main), UNKNOWN, digits) for row in rows]
    best = [with_interval(row.means[BEST_VALIDATION], UNKNOWN, digits) for row in rows]
    return [
        Column("#", [NONE if row.rank is None else str(row.rank) for row in rows]),
        Column("arm", [one_line(row.arm.label) for row in rows], right=False),
        Column(one_line(sweep.score), scores),
        *([Column("best val", best)] if _has_best(rows) else []),
        Column("seeds", seeds, wide=True),
        Column("verdict", [row.says for row in rows], right=False),
        Column("group", [row.group or NONE for row in rows], right=False),
        *(
            Column(one_line(title), [compact(row.means[metric]) for row in rows])
            for metric, title in titles.items()
            if metric != main
        ),
        Column("search*", searched, wide=True),
    ]


def _has_best(rows: Sequence[Standing]) -> bool:
    """Whether any run tested the weights of its best validation; older ones did not."""
    return any(math.isfinite(row.means[BEST_VALIDATION]) for row in rows)


def csv_text(sweep: Sweep, rows: Sequence[Standing]) -> str:
    """CSV with one line per arm and numbers in full precision; missing numbers are blank.

    A text that a spreadsheet would read as a formula begins with an apostrophe.
    """
    text = io.StringIO()
    records = [_record(sweep, row) for row in rows]
    names = dict.fromkeys(name for record in records for name in record)  # arms tune different keys
    writer = csv.DictWriter(text, sorted(names, key="command".__eq__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def markdown_text(sweep: Sweep, rows: Sequence[Standing]) -> str:
    """Markdown table with notes and the command of every row."""
    table = markdown_table(columns(sweep, rows))
    commands = "".join(
        f"\n{escape_markdown(one_line(row.arm.label))}:\n\n    {one_line(row.arm.command)}\n"
        for row in rows
        if row.arm.command
    )
    return f"{table}\n{escape_markdown(notes(sweep, rows))}\n{commands}"


def latex_text(sweep: Sweep, rows: Sequence[Standing]) -> str:
    """LaTeX table for ``\\input`` with the rules of booktabs.

    It has no commands, which may hold paths of this machine; the other tables do.
    """
    return latex_table(columns(sweep, rows), notes(sweep, rows))


def plain_text(sweep: Sweep, rows: Sequence[Standing]) -> str:
    """Table of the main columns for a terminal."""
    return plain_table(columns(sweep, rows))


def notes(sweep: Sweep, rows: Sequence[Standing]) -> str:
    """Explanation of the numbers and of their uncertainty."""
    ranked = [row for row in rows if row.rank is not None]
    most = max((len(row.scores) for row in rows), default=0)
    kind = "Student's" if most < MIN_BOOTSTRAP_VALUES else "BCa bootstrap"
    sentences = [
        f"{sweep.score} is the mean over fresh seeds with its 95 % interval ({kind}).",
        (
            "search* is the validation score of the same configuration in the search: the best of "
            "many trials, so optimistically biased; verdicts do not use it."
        ),
    ]
    if _has_best(rows):
        sentences.append(
            "best val is the mean test score of the weights of the best validation; all else, with "
            "every verdict, is of the weights after the last step."
        )
    tested = [row for row in ranked if row.group]
    if len(tested) > 1:
        pairs = len(tested) * (len(tested) - 1) // 2
        sentences.append(
            f"Verdicts are against {ranked[0].arm.label}, by paired tests over seeds at "
            f"{LEVEL:.0%} with Holm's correction over all {pairs} pairs; arms that share a letter "
            "are not significantly different."
        )
        if len(sweep.plan.looks) > 1:
            looks = ", ".join(map(str, sweep.plan.looks))
            sentences.append(
                f"Seeds were added while verdicts were open, with looks at {looks} seeds; "
                "O'Brien-Fleming spending keeps the level over all looks."
            )
        if sweep.margin:
            sentences.append(f"Equivalent: significantly less than {sweep.margin:g} apart.")
    if not tested:
        sentences.append(f"No verdicts: they need {MIN_SEEDS} seeds that all arms share.")
    return one_line(" ".join(sentences))


def _record(sweep: Sweep, row: Standing) -> dict[str, Any]:
    main, *others = metrics_of(sweep)
    pair = row.verdict.pair
    found = {
        "rank": row.rank,
        "arm": row.arm.label,
        "control": row.arm.control,
        main: row.mean,
        "low": row.interval.low,
        "high": row.interval.high,
        "bootstrap_low": row.bootstrap.low,
        "bootstrap_high": row.bootstrap.high,
        "interquartile_mean": row.iqm,
        "seeds": len(row.scores),
        "seeds_planned": row.arm.planned,
        "verdict": row.says,
        "group": row.group,
        "difference_to_first": pair.difference if pair else None,
        "standard_error": pair.standard_error if pair else None,
        "p_holm": row.verdict.p,
        "p_equivalent_holm": row.verdict.p_equivalent,
        "p_sign_flip": sign_flip(pair.differences) if pair else None,
        "seeds_needed": row.verdict.seeds_needed,
        "probability_of_improvement": row.improvement,
        "pareto": row.front,
        "search_biased": row.arm.search.get(main),
        **{metric: row.means[metric] for metric in others},
        **{f"param:{name}": value for name, value in row.arm.params.items()},
        "command": row.arm.command,
    }
    return {cell_text(name): _as_cell(value) for name, value in found.items()}


def _as_cell(value: Any) -> Any:
    return None if value != value else cell_text(value) if isinstance(value, str) else value  # NaN
