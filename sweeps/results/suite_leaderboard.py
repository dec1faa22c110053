"""Leaderboard of a suite, arms by benchmarks, in CSV, Markdown, LaTeX and plain text."""

import csv
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..statistics import LEVEL, Interval, Word, mean_interval
from .files import write_file
from .formatting import NONE, cell_text, compact, decimals, one_line, with_interval
from .suite_answer import answer, caveats
from .suite_comparison import SuiteComparison
from .suite_costs import Cost
from .suite_marks import ASCII_MARKS, MARKS, Marks, mark_in, mark_over
from .tables import Column, escape_markdown, latex_table, markdown_table, plain_table

CSV, MARKDOWN, LATEX = "suite.csv", "suite.md", "suite.tex"

_WIDTH = 96


def write_suite_tables(comparison: SuiteComparison, costs: Sequence[Cost], folder: Path) -> str:
    """Write ``suite.csv``, ``.md`` and ``.tex``; returns the answer and a plain table."""
    write_file(folder / CSV, csv_text(comparison, costs))
    write_file(folder / MARKDOWN, markdown_text(comparison, costs))
    write_file(folder / LATEX, latex_text(comparison, costs))
    return plain_text(comparison, costs)


def score_decimals(comparison: SuiteComparison, benchmark: str) -> int:
    """Decimal places of the scores of a benchmark."""
    runs = comparison.complete.scores[benchmark].values()
    return decimals(mean_interval(list(own.values())).width for own in runs)


def columns(
    comparison: SuiteComparison, costs: Sequence[Cost], marks: Marks = MARKS
) -> list[Column]:
    """Columns with a cell for each arm, in the order of the comparison."""
    order = comparison.order
    improvement = [comparison.improvement.get(label) for label in order]
    ranks = comparison.ranks.ranks if comparison.ranks else {}
    found = [
        Column("arm", [one_line(label) for label in order], right=False),
        Column("mean", [_mean(comparison, label, marks) for label in order]),
        Column("IQM", [_iqm(comparison, label) for label in order]),
        Column("group", [_group(comparison, label) or NONE for label in order], right=False),
        *(_benchmark(comparison, each.name, marks) for each in comparison.suite.benchmarks),
        Column("P(improvement)", [f"{p.value:.2f}" if p else NONE for p in improvement], wide=True),
        Column(
            "rank",
            [f"{ranks[label]:.2f}" if label in ranks else NONE for label in order],
            wide=True,
        ),
    ]
    for cost in costs:
        cells = [compact(cost.arms[x].value) if x in cost.arms else NONE for x in order]
        found.append(Column(one_line(cost.title), cells, wide=True))
    return found


def notes(comparison: SuiteComparison, marks: Marks = MARKS) -> list[str]:
    """Explanations of the numbers, a line each; gaps are last."""
    found = []
    if comparison.benchmarks:
        ones = {each.one for each in comparison.normalized.anchors.values()}
        best = " or the best arm" if len(ones) > 1 else ""
        one = one_line(min(ones, key=list(comparison.suite.labels).index)) if ones else ""
        found.append(
            f"mean, IQM: of normalized scores, 0 = {one_line(comparison.control or '')}, 1 = "
            f"{one}{best}; arms that share a letter are not significantly different."
        )
    if comparison.verdicts is not None and comparison.control is not None:
        signs = marks.strong
        found.append(
            f"Against {one_line(comparison.control)}: {signs[Word.BETTER]} better, "
            f"{signs[Word.WORSE]} worse, both with one correction over all benchmarks; "
            f"{marks.weak[Word.BETTER]} {marks.weak[Word.WORSE]} with correction within the "
            f"benchmark alone; {signs[Word.EQUIVALENT]} equivalent within the margin; "
            f"{signs[Word.UNCLEAR]} not distinguishable; {marks.gap} gap. Level {LEVEL:.0%}."
        )
    found += caveats(comparison)
    found += [
        f"{marks.gap} {b}, {one_line(arm)}: {one_line(why)}" for b, arm, why in comparison.gaps
    ]
    return found


def plain_text(comparison: SuiteComparison, costs: Sequence[Cost]) -> str:
    """The answer, the table and notes for a terminal."""
    said = textwrap.fill(" ".join(answer(comparison)), _WIDTH)
    lines = [textwrap.fill(note, _WIDTH, subsequent_indent="  ") for note in notes(comparison)]
    return "\n".join([said, "", plain_table(columns(comparison, costs)), *lines]).rstrip() + "\n"


def markdown_text(comparison: SuiteComparison, costs: Sequence[Cost]) -> str:
    """The answer, the table and notes in Markdown."""
    parts = [
        escape_markdown(" ".join(answer(comparison))),
        markdown_table(columns(comparison, costs)).rstrip(),
        *map(escape_markdown, notes(comparison)),
    ]
    return "\n\n".join(parts) + "\n"


def latex_text(comparison: SuiteComparison, costs: Sequence[Cost]) -> str:
    """The table in LaTeX, with notes."""
    said = " ".join(notes(comparison, ASCII_MARKS))
    return latex_table(columns(comparison, costs, ASCII_MARKS), said)


def csv_text(comparison: SuiteComparison, costs: Sequence[Cost]) -> str:
    """CSV with one line per arm and numbers in full precision; missing numbers are blank."""
    text = io.StringIO()
    records = [_record(comparison, costs, label) for label in comparison.order]
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _mean(comparison: SuiteComparison, label: str, marks: Marks) -> str:
    mean = comparison.means.get(label)
    return (
        NONE
        if mean is None
        else f"{round(mean, 2) + 0.0:.2f} {mark_over(comparison, label, marks)}".rstrip()
    )


def _iqm(comparison: SuiteComparison, label: str) -> str:
    found = comparison.iqm.get(label)
    if found is None or not found.complete:
        return NONE
    ends = Interval(round(found.interval.low, 2) + 0.0, round(found.interval.high, 2) + 0.0)
    return with_interval(round(found.value, 2) + 0.0, ends, 2)


def _group(comparison: SuiteComparison, label: str) -> str:
    return comparison.verdicts.suite.verdicts.groups.get(label, "") if comparison.verdicts else ""


def _benchmark(comparison: SuiteComparison, name: str, marks: Marks) -> Column:
    (benchmark,) = (each for each in comparison.suite.benchmarks if each.name == name)
    digits = score_decimals(comparison, name)
    cells = []
    for label in comparison.order:
        mean = comparison.mean_in(name, label)
        mark = mark_in(comparison, name, label, marks)
        # an arm without a sign keeps the place of one, so that numbers are aligned
        cells.append(marks.gap if mean is None else f"{mean:.{digits}f} {mark or ' '}")
    return Column(one_line(f"{name} ({benchmark.sweep.score})"), cells)


def _record(comparison: SuiteComparison, costs: Sequence[Cost], label: str) -> dict[str, Any]:
    iqm, improvement = comparison.iqm.get(label), comparison.improvement.get(label)
    control, ranks = comparison.control, comparison.ranks
    compared = control not in (None, label) and label in comparison.means
    found: dict[str, Any] = {
        "arm": label,
        "control": label in comparison.suite.controls,
        "mean_normalized": comparison.means.get(label),
        "verdict": comparison.word(label, control).value if control and compared else None,
        "group": _group(comparison, label) or None,
        "iqm": iqm.value if iqm else None,
        "iqm_low": iqm.interval.low if iqm else None,
        "iqm_high": iqm.interval.high if iqm else None,
        "iqm_complete": iqm.complete if iqm else None,
        "improvement": improvement.value if improvement else None,
        "improvement_low": improvement.interval.low if improvement else None,
        "improvement_high": improvement.interval.high if improvement else None,
        "mean_rank": ranks.ranks.get(label) if ranks else None,
    }
    for benchmark in comparison.suite.benchmarks:
        name, scores = benchmark.name, comparison.complete.scores[benchmark.name]
        tested = control not in (None, label) and {control, label} <= scores.keys()
        word, strict = (
            comparison.word_in(name, label, control) if tested and control else (None, False)
        )
        mean, anchors = comparison.mean_in(name, label), comparison.normalized.anchors.get(name)
        found |= {
            f"{name}:score": mean,
            f"{name}:normalized": anchors.normalize(mean) if anchors and mean is not None else None,
            f"{name}:verdict": word.value if word else None,
            f"{name}:all_benchmarks": strict if word else None,
            f"{name}:gap": comparison.gap(name, label) or None,
        }
    for cost in costs:
        own = cost.arms.get(label)
        found |= {
            cost.metric.metric: own.value if own else None,
            f"{cost.metric.metric}:low": own.interval.low if own else None,
            f"{cost.metric.metric}:high": own.interval.high if own else None,
            f"{cost.metric.metric}:relative_to": cost.reference,
            f"{cost.metric.metric}:mean_rank": cost.ranks.ranks.get(label) if cost.ranks else None,
        }
    return {cell_text(name): _as_cell(value) for name, value in found.items()}


def _as_cell(value: Any) -> Any:
    return None if value != value else cell_text(value) if isinstance(value, str) else value  # NaN
