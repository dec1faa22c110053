"""The leaderboard: numbers, dots and whiskers, verdicts, and how to run each arm again."""

import math
from collections.abc import Sequence
from itertools import groupby

from ..results.ranking import BEST, LEADS, Standing, metrics_of
from ..statistics.verdicts import Word
from .html import Safe, join, tag
from .inks import as_variable
from .intervals import Row, axis_panel, forest, row_panel, shared_scale
from .material import Material
from .numbers import compact, fixed
from .scales import Scale
from .section import Section, arm_name, cell, heading
from .svg import svg

#: Told below a row, not in it.
_ASIDE = ("compute.active_parameters", "compute.train_seconds")
_INCOMPLETE = "incomplete"

#: Headings of the groups, by what is said of the arms in them.
_GROUPS = {
    BEST: ("Best", "all others are worse"),
    LEADS: ("Leads", "the best mean, but not surely the best arm"),
    Word.EQUIVALENT: ("Equivalent to the leader", "the difference is surely below the margin"),
    Word.UNCLEAR: ("Not distinguishable from the leader", "more seeds might tell"),
    Word.WORSE: ("Worse than the leader", "after correction for all comparisons"),
    Word.BETTER: ("Better than the leader on shared seeds", ""),
    Word.TOO_FEW: ("Too few seeds to compare", "it takes three that all arms share"),
    _INCOMPLETE: ("Incomplete", "not ranked"),
}


def board_section(material: Material) -> Section | None:
    """A row for each arm, best first, in groups by verdict."""
    drawn = {row.arm.label: _drawn(material, row) for row in material.rows if row.scores}
    if not drawn:
        return None
    x = shared_scale(list(drawn.values()))
    metrics = [m for m in metrics_of(material.sweep)[1:] if m not in _ASIDE]
    metrics = [m for m in metrics if any(math.isfinite(row.means[m]) for row in material.rows)]
    bodies: list[Safe] = []
    for group, members in groupby(material.rows, key=_group):
        bodies.append(_group_head(group, 6 + len(metrics)))
        bodies.extend(_rows(material, r, drawn.get(r.arm.label), x, metrics) for r in members)
    head = _head(material, x, metrics)
    board = tag("table", head, *bodies, class_="board sortable", role="table")
    ranked = [drawn[row.arm.label] for row in material.rows if row.arm.label in drawn]
    figure = forest(
        ranked,
        material.sweep.score,
        "Scores of all arms",
        "Mean over fresh seeds with its 95% interval; ticks: single seeds.",
    )
    return Section("leaderboard", "Leaderboard", join(_note(), board), [figure])


def _note() -> Safe:
    return tag(
        "p",
        "Every number is a mean over fresh seeds that the search never saw. Dot: mean; whisker: "
        "95% interval of the mean, open where it leaves the picture; small ticks: single seeds. "
        "Arms that share a letter were not told apart.",
        class_="note",
    )


def _drawn(material: Material, row: Standing) -> Row:
    known = math.isfinite(row.interval.low)
    low, high = (row.interval.low, row.interval.high) if known else (row.mean, row.mean)
    look = material.looks[row.arm.label]
    return Row(row.arm.label, look, row.mean, low, high, list(row.scores.values()))


def _group(row: Standing) -> str:
    return _INCOMPLETE if row.rank is None else row.says


def _group_head(group: str, width: int) -> Safe:
    title, note = _GROUPS[group]
    more = [tag("span", f" · {note}")] if note else []
    head = tag("th", title, *more, colspan=f"{width}", scope="rowgroup")
    return tag("tbody", tag("tr", head, role="row"), class_="group", role="rowgroup")


def _head(material: Material, x: Scale, metrics: Sequence[str]) -> Safe:
    score = material.sweep.score
    axis = svg(axis_panel(x, score), as_variable, "wide")
    cells = [
        heading("#", "n"),
        heading("Arm"),
        heading(score, "n"),
        tag("th", axis, scope="col", class_="plot"),
        heading("Group"),
        *(heading(material.name_of(metric), "n", metric) for metric in metrics),
        heading("Seeds", "n"),
    ]
    return tag("thead", tag("tr", *cells))


def _rows(
    material: Material, row: Standing, drawn: Row | None, x: Scale, metrics: Sequence[str]
) -> Safe:
    arm, places = row.arm, material.places
    low, high = (fixed(end, places) for end in (row.interval.low, row.interval.high))
    span = [tag("span", f" [{low}, {high}]", class_="span")] if row.interval.width >= 0 else []
    picture = [svg(row_panel(drawn, x), as_variable, "wide")] if drawn is not None else []
    name = arm_name(arm.label, material.looks[arm.label], arm.control)
    rank = compact(row.rank)
    cells = [
        cell(rank, value=row.rank, class_="n rank"),
        tag("td", name, class_="name", role="cell", data_value=arm.label, data_rank=rank),
        cell(
            join(tag("span", fixed(row.mean, places), class_="main"), *span),
            class_="n score",
            value=row.mean,
        ),
        tag("td", *picture, class_="plot", role="cell"),
        cell(row.group, class_="letters", label="group", value=row.group),
        *(
            cell(compact(row.means[m]), value=row.means[m], label=material.name_of(m))
            for m in metrics
        ),
        cell(f"{len(row.scores)}", value=len(row.scores), label="seeds"),
    ]
    more = tag("td", _details(material, row), colspan=f"{len(cells)}", role="cell")
    lines = tag("tr", *cells, role="row"), tag("tr", more, class_="more", role="row")
    return tag("tbody", *lines, class_="arm-rows", role="rowgroup")


def _details(material: Material, row: Standing) -> Safe:
    pairs = [(name, text) for name, text in _facts(material, row) if text]
    shown = (tag("span", f"{name} ", tag("b", text)) for name, text in pairs)
    command = row.arm.command
    copy = tag("button", "Copy", type="button", class_="copy no-js")
    again = tag("div", tag("pre", tag("code", command)), copy, class_="command")
    numbers = tag("p", *shown, class_="pairs")
    summary = tag("summary", "Run it again, and more numbers")
    return tag("details", summary, *([again] if command else []), numbers)


def _facts(material: Material, row: Standing) -> list[tuple[str, str]]:
    """More numbers than a row has room for."""
    verdict, places = row.verdict, material.places
    tuned = ", ".join(f"{name}={value}" for name, value in row.arm.params.items())
    facts = [
        ("single seeds", ", ".join(fixed(v, places) for v in row.scores.values())),
        ("interquartile mean", fixed(row.iqm, places) if row.scores else ""),
    ]
    if verdict.pair is not None and row.says not in (BEST, LEADS):
        needed = verdict.seeds_needed
        facts += [
            ("difference to the leader", fixed(verdict.pair.difference, places)),
            ("p of a difference (Holm)", compact(verdict.p)),
            ("p of equivalence (Holm)", compact(verdict.p_equivalent)),
            ("chance to beat the leader", f"{row.improvement:.0%}"),
            ("seeds to tell them apart", "over 1000" if needed is None else f"{needed}"),
        ]
    facts += [(material.name_of(m), compact(row.means[m])) for m in _ASIDE]
    return [*facts, ("tuned", tuned)]
