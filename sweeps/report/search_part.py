"""The part on the search: how it went, what it promised, and every trial of it."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from ..config.objectives import number_at
from .html import Safe, join, tag
from .importance import importance_figure
from .marks import Figure
from .material import Entrant, Material
from .numbers import compact, fixed
from .search import Search, search_figure
from .section import Section, arm_name, cell, figure_html, heading, table
from .study import ENOUGH_TRIALS, Searched


def search_section(material: Material) -> Section | None:
    """Search against confirmation, progress, importance and the table of trials."""
    parts: list[Safe] = []
    figures: list[Figure] = []
    promised = _promises(material)
    if promised is not None:
        parts.append(promised)
    progress = search_figure(
        [_search(material, each) for each in material.entrants],
        material.looks,
        material.maximize,
        "Every finished trial and the best so far; dashed: the mean of that best trial's "
        "settings on fresh seeds, on the same split.",
    )
    figures += [progress] if progress is not None else []
    importance = importance_figure(
        [(_title(material, study), study.importances) for study in material.studies],
        material.looks,
        f"Share of the variance of {material.sweep.score} over trials that each parameter "
        f"explains (fANOVA), for searches with at least {ENOUGH_TRIALS} finished trials.",
    )
    figures += [importance] if importance is not None else []
    parts += [figure_html(figure, material.looks) for figure in figures]
    trials = _trials(material)
    if trials is not None:
        parts.append(trials)
    if not parts:
        return None
    return Section("search", "The search", join(*parts), figures)


def _title(material: Material, study: Searched) -> str:
    """The arm that was searched, or that all were searched together."""
    places = {(study.folder, name) for name in study.trials}
    labels = [each.label for each in material.entrants if each.places & places]
    return labels[0] if len(labels) == 1 else "all arms together"


def _search(material: Material, each: Entrant) -> Search:
    metric = material.search_metric
    trials = []
    for trial in each.arm.trials:
        values = [v for run in trial["runs"] if (v := number_at(run, metric)) is not None]
        if values and trial["number"] is not None:
            trials.append((trial["number"], fmean(values)))
    return Search(each.label, trials, each.mean(metric))


def _promises(material: Material) -> Safe | None:
    """What the search promised, and what fresh seeds kept of it."""
    metric, main = material.search_metric, material.main.metric
    found = []
    for each in material.entrants:
        promised = each.arm.search.get(main, each.arm.search.get(metric))
        kept = each.mean(metric)
        if promised is not None and kept is not None:
            found.append((each, promised, kept, each.mean(main)))
    if not found:
        return None
    places = max(3, material.places)
    same = metric == main
    head = [
        tag("th", "Arm", scope="col"),
        heading("Best in search", "n"),
        heading("Fresh seeds" if same else "Fresh seeds, same split", "n"),
        heading("Difference", "n"),
        *([] if same else [heading("Fresh seeds, test split", "n")]),
    ]
    rows = [
        [
            tag("td", arm_name(each.label, each.look, each.arm.control)),
            cell(fixed(promised, places), value=promised),
            cell(fixed(kept, places), value=kept),
            cell(fixed(kept - promised, places), value=kept - promised),
            *([] if same or test is None else [cell(fixed(test, places), value=test)]),
        ]
        for each, promised, kept, test in found
    ]
    gap = fmean(kept - promised for _, promised, kept, _ in found)
    way = "below" if gap < 0 else "above"
    note = (
        f"The best of many trials is partly luck. On average fresh seeds of the same settings came "
        f"out {fixed(abs(gap), places)} {way} what the search had shown; only fresh seeds count in "
        "the leaderboard."
    )
    body = tag("div", table(head, rows, "promises"), class_="fit")
    return join(tag("h3", "Promised and confirmed"), tag("p", note, class_="note"), body)


def _trials(material: Material) -> Safe | None:
    """All trials: from the studies where there are any, else from their folders."""
    rows = [row for each in material.entrants for row in _rows(material, each)]
    if not rows:
        return None
    parameters = list(dict.fromkeys(name for row in rows for name in row[4]))
    objectives = [material.name_of(each.metric) for each in material.sweep.objectives]
    head = [
        heading("Arm"),
        heading("Trial", "n"),
        heading("State"),
        *(heading(name, "n") for name in objectives),
        *(heading(name, "n") for name in parameters),
    ]
    body = [
        [
            tag("td", arm_name(each.label, each.look, each.arm.control)),
            cell(str(number), value=number),
            cell(state, class_="state"),
            *(_value(value, i, material) for i, value in enumerate(values)),
            *(_parameter(params.get(name, "")) for name in parameters),
        ]
        for each, number, state, values, params in rows
    ]
    finished = sum(row[2] == "complete" for row in rows)
    return join(
        tag("h3", "All trials"),
        tag("p", f"{len(rows)} trials, {finished} complete.", class_="note"),
        tag(
            "div",
            table(head, body, "trials"),
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label="All trials",
        ),
    )


_Row = tuple[Entrant, int, str, Sequence[float | None], dict[str, Any]]


def _rows(material: Material, each: Entrant) -> list[_Row]:
    metrics = [material.searched_as(o.metric) for o in material.sweep.objectives]
    folders = {trial["number"]: trial["runs"] for trial in each.arm.trials}
    known = {trial.number: trial for trial in each.trials_of(material.studies)}
    rows: list[_Row] = []
    for number in sorted({n for n in (*folders, *known) if n is not None}):
        runs = folders.get(number, [])
        trial = known.get(number)
        values = [_mean([number_at(run, metric) for run in runs]) for metric in metrics]
        state = trial.state.name.lower() if trial else "complete" if runs else "unfinished"
        rows.append((each, number, state, values, dict(trial.params) if trial else {}))
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _value(value: float | None, place: int, material: Material) -> Safe:
    """An objective's cell; all of the main one have the same decimals."""
    text = fixed(value, material.places) if place == 0 else compact(value)
    return cell(text, value="" if value is None else value)


def _parameter(value: Any) -> Safe:
    if isinstance(value, float):
        return cell(f"{value:.3g}", value=value)
    return cell(str(value), value=str(value))
